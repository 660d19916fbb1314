"""Generate different photos to send, and request bodies that contain them."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from tests.photos import jpeg, open_photo
from tests.tools.bench.load import Body

BOUNDARY = "likeness-bench"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def photos(width: int, height: int, count: int) -> list[bytes]:
    """Return JPEGs of a face that fills a third of the height, with noise like a phone's photos.

    With the noise, a photo of 12 megapixels has 3 MB. Every photo has other noise.
    """
    rng = np.random.default_rng(0)
    # Not grey: a JPEG that ends in grey is decoded twice, to find out whether it was cut off.
    still = np.asarray(
        ImageOps.pad(open_photo("grace"), (width, height), color="slategrey"), np.int16
    )
    grain = rng.normal(0, 6, (2 * height, 2 * width, 1)).astype(np.int16)
    jpegs = []
    for _ in range(count):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        grainy = still + grain[top : top + height, left : left + width]
        jpegs.append(jpeg(Image.fromarray(grainy.clip(0, 255).astype(np.uint8))))
    return jpegs


def multipart(photo: bytes, **fields: str) -> bytes:
    """Return a multipart form with one photo, `image`, and text fields."""
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
    """Return `count` requests that use the forms in turn."""
    return [Body(forms[index % len(forms)]) for index in range(count)]


def disturbed(photos: Sequence[bytes], count: int) -> list[Body]:
    """Return requests, of which 1 % have a cut photo and 5 % disconnect before the answer."""
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
