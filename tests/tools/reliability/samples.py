"""Generate small images of every accepted format: faces, plain pictures, and unusual ones."""

from tests.hostile import corpus
from tests.images import encode, noise
from tests.odd import fine_files
from tests.photos import open_photo

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
_LARGEST_BYTES = 40_000


def faces(side: int = 96) -> dict[str, bytes]:
    """Return a real portrait, `side` pixels wide, in each format."""
    portrait = open_photo("grace").resize((side, round(side * 1.17)))
    return {form: encode(portrait, form) for form in FORMATS}


def images() -> list[bytes]:
    """Return valid and some broken images, always in the same order."""
    packed = [
        encode(noise(), "TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    ]
    found = [*faces().values(), *packed, *fine_files().values()]
    found += [case.data for case in corpus()]
    # Many hostile files equal the valid ones, and the large ones would only take time.
    return [data for data in dict.fromkeys(found) if 0 < len(data) <= _LARGEST_BYTES]
