"""Reduce samples of more than 8 bits to 8, keeping the highest bits in use.

Cameras, scanners and thermal or medical devices with 10, 12 or 14 bits store their samples in 16
and leave the upper bits empty, so the high byte alone would be black. The chunk `sBIT` of a PNG
does not help: by the PNG specification, samples always fill all 16 bits.
"""

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from models.errors import UndecodableImage

Pixels = NDArray[np.uint8]
Samples = NDArray[np.uint16]

_PART = 2**20
_ROWS = 256
# If a high byte is at least this, the file uses 15 bits or more.
_NEARLY_EMPTY = 64
# This share of the values at either end is ignored: it may be a hot pixel or a lamp.
_STRAY = 0.001
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def to_8_bits(samples: Samples, bits: int = 0) -> Pixels:
    """Reduce samples `(h, w)` of `bits` bits to 8; by default, `bits` is what is in use."""
    return _shifted(samples, bits or _in_use(int(samples.max(initial=0))))


def _in_use(largest: int) -> int:
    """Return the number of bits in use, rounded up to an even number, as devices have it.

    So the brightness does not depend on a single sample.
    """
    needed = largest.bit_length()
    return max(8, needed + needed % 2)


def _shifted(samples: Samples, bits: int) -> Pixels:
    return np.right_shift(samples, max(bits, 8) - 8).astype(np.uint8)


def stretch(values: NDArray[np.float32] | NDArray[np.int32]) -> Pixels:
    """Map the darkest of the values `(h, w)` to 0 and the brightest to 255.

    Files with such values do not share a range. One in a thousand may lie beyond either end.
    Raises UndecodableImage if some are not finite.
    """
    flat = values.reshape(-1)
    if not np.isfinite(float(flat.max()) - float(flat.min())):
        raise UndecodableImage("The image contains values that are not finite.")
    some = np.sort(flat[:: 1 + flat.size // _PART])
    stray = int(_STRAY * some.size)
    low, high = float(some[stray]), float(some[-1 - stray])
    # In parts, because 64 bits a value would take eight times the memory of the result.
    span, stretched = high - low if high > low else 1.0, np.empty(flat.shape, np.uint8)
    for start in range(0, flat.size, _PART):
        part = slice(start, start + _PART)
        scaled = 255 * ((flat[part].astype(np.float64) - low) / span)
        stretched[part] = np.rint(scaled.clip(0, 255))
    return stretched.reshape(values.shape)


def raw_mode(image: ImageFile) -> str:
    """Return how the file stores its samples, as a Pillow raw mode; call it before loading."""
    arguments = image.tile[0].args if image.tile else None
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def with_raw_mode(image: ImageFile, change: Callable[[str], str]) -> None:
    """Change the raw mode that an image will be loaded with; call it before loading."""
    for at, tile in enumerate(image.tile):
        match tile.args:
            case str():
                image.tile[at] = tile._replace(args=change(tile.args))
            case (str(raw), *others):
                image.tile[at] = tile._replace(args=(change(raw), *others))


def deepen(image: Pillow.Image, raw: str, reopen: Callable[[], ImageFile]) -> Pillow.Image:
    """Reduce colours of 16 bits by the bits in use; Pillow keeps the high byte only.

    If the high byte is nearly empty, the file is decoded again to get the low byte.
    """
    samples, _, order = raw.partition(";16")
    if not order or samples not in ("R", "RGB", "RGBX", "RGBA", "LA"):
        return image
    high = np.asarray(image)
    if high[..., :3].max(initial=0) >= _NEARLY_EMPTY:
        return image
    with reopen() as again:
        # No raw mode gives the low byte of LA, so its four bytes are read as RGBA.
        is_grey = samples == "LA"
        with_raw_mode(again, lambda raw: "RGBA" if is_grey else raw[:-1] + _OTHER_BYTE[raw[-1]])
        again.load()
        low = np.asarray(again)[..., 1:2] if is_grey else np.asarray(again)[..., :3]
    return Pillow.fromarray(_joined(high, low))


def _joined(high: Pixels, low: Pixels) -> Pixels:
    """Join high bytes `(h, w, 3 or 4)` with low bytes, reduced to 8 bits; alpha is unchanged."""
    parts = [slice(top, top + _ROWS) for top in range(0, len(high), _ROWS)]
    bits = _in_use(max(int(_samples(high[rows], low[rows]).max()) for rows in parts))
    joined = high.copy()
    for rows in parts:
        joined[rows, :, :3] = _shifted(_samples(high[rows], low[rows]), bits)
    return joined


def _samples(high: Pixels, low: Pixels) -> Samples:
    return high[..., :3].astype(np.uint16) << np.uint16(8) | low
