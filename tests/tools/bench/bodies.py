"""Photos to send, no two alike, and the bodies that carry them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from tests.photos import jpeg, open_photo
from tests.tools.bench.load import Body

BOUNDARY = "likeness-bench"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def photos(width: int, height: int, count: int) -> list[bytes]:
    """Return JPEGs of a face that fills a third of the height, grainy as a phone's photos are.

    The grain makes 12 megapixels 3 MB; where it lies differs from photo to photo.
    """
    rng = np.random.default_rng(0)
    # Not mid-grey: a JPEG that ends in that colour is decoded twice, to see whether it was cut.
    still = np.asarray(
        ImageOps.pad(open_photo("grace"), (width, height), color="slategrey"), np.int16
    )
    grain = rng.normal(0, 6, (2 * height, 2 * width, 1)).astype(np.int16)
    made = []
    for _ in range(count):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        grainy = still + grain[top : top + height, left : left + width]
        made.append(jpeg(Image.fromarray(grainy.clip(0, 255).astype(np.uint8))))
    return made


def multipart(photo: bytes, **fields: str) -> bytes:
    """Return a form with one photo, `image`, and fields of text."""
    parts = [
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="image"; filename="a.jpg"\r\n'
        "content-type: image/jpeg\r\n\r\n"
    ).encode()
    return b"".join((*parts, head, photo, f"\r\n--{BOUNDARY}--\r\n".encode()))


def cycle(forms: Sequence[bytes], count: int) -> list[Body]:
    """Return so many requests, each form in turn."""
    return [Body(forms[index % len(forms)]) for index in range(count)]


def disturbed(photos: Sequence[bytes], count: int) -> list[Body]:
    """Return so many requests of which one in a hundred is cut off and five in a hundred leave."""
    bodies = []
    for index in range(count):
        photo = photos[index % len(photos)]
        match index % 100:
            case 50:
                bodies.append(Body(multipart(photo[: len(photo) // 2]), harmful=True))
            case 10 | 30 | 60 | 75 | 90:
                bodies.append(Body(multipart(photo), harmful=True, leaves=True))
            case _:
                bodies.append(Body(multipart(photo)))
    return bodies
