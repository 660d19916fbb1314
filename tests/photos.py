"""Two public-domain photos that come with packages, and the same photos as others take them."""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal

import matplotlib
import skimage
from PIL import Image, ImageOps

Name = Literal["grace", "astronaut"]

_FILES = {
    "grace": Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    "astronaut": Path(skimage.__file__).parent / "data" / "astronaut.png",
}


@cache
def photo_bytes(name: Name) -> bytes:
    """Return Grace Hopper's official portrait or Eileen Collins', both of the US government."""
    return _FILES[name].read_bytes()


def open_photo(name: Name) -> Image.Image:
    return Image.open(BytesIO(photo_bytes(name))).convert("RGB")


def jpeg(image: Image.Image, quality: int = 88) -> bytes:
    """Encode as a phone would."""
    stream = BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def reencoded(name: Name, side: int) -> bytes:
    """Scale to a width in pixels and encode anew."""
    image = open_photo(name)
    return jpeg(image.resize((side, round(side * image.height / image.width))))


def mirrored(photo: bytes) -> bytes:
    return jpeg(ImageOps.mirror(Image.open(BytesIO(photo)).convert("RGB")))


def turned(name: Name, quarters: int) -> bytes:
    """Turn anticlockwise, without any EXIF that would say so."""
    return jpeg(open_photo(name).rotate(90 * quarters, expand=True))


def group_photo() -> bytes:
    """Return Grace Hopper on the left and, her face two thirds as wide, Eileen Collins beside."""
    front, behind = open_photo("grace"), open_photo("astronaut").crop((80, 0, 380, 300))
    photo = Image.new("RGB", (front.width + 440, front.height), "grey")
    photo.paste(front, (0, 0))
    photo.paste(behind.resize((440, 440)), (front.width, 100))
    return jpeg(photo)
