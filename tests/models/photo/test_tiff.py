"""The photo is found among the images of a TIFF file."""

from io import BytesIO

import numpy as np
import pytest
import tifffile

from models.errors import TooManyPixels, UnsupportedImage
from models.photo.image import Limits, decode
from models.photo.tiff import directories
from tests.images import encode, exif, noise, picture, retag
from tests.odd import raw_file


def pages(*sides: int, subfiletype: int = 0) -> bytes:
    """Write squares with these sides; the brightness of each is the length of its side."""
    stream = BytesIO()
    with tifffile.TiffWriter(stream) as file:
        for side in sides:
            square = np.full((side, side, 3), side, np.uint8)
            file.write(square, photometric="rgb", subfiletype=subfiletype)
    return stream.getvalue()


@pytest.mark.parametrize("sides", [(20, 90), (90, 20), (20, 90, 40)])
def test_the_largest_image_is_the_photo(sides: tuple[int, ...]) -> None:
    assert np.unique(decode(pages(*sides)).pixels).tolist() == [90]


def test_of_the_pages_of_a_document_the_first_is_the_photo() -> None:
    assert decode(pages(20, 90, subfiletype=2)).width == 20


def test_a_mask_is_never_the_photo() -> None:
    stream = BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(np.asarray(picture(96, 64)), photometric="rgb")
        file.write(np.zeros((99, 99), np.bool_), photometric="minisblack", subfiletype=4)
    assert decode(stream.getvalue()).width == 96


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_photo_lies_as_the_first_directory_says(turn: int) -> None:
    file = raw_file(picture(96, 64), picture(24, 16), turn=turn)
    jpeg = encode(picture(96, 64), "JPEG", exif=exif(turn))
    shown, expected = decode(file).pixels.astype(int), decode(jpeg).pixels.astype(int)
    assert np.abs(shown - expected).mean() < 3


def test_raw_sensor_data_alone_are_refused() -> None:
    file = raw_file(noise(96, 64), noise(24, 16), sensor=True, finished=False)
    with pytest.raises(UnsupportedImage, match="raw sensor data") as caught:
        decode(file)
    assert "JPEG" in str(caught.value.advice)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_samples_that_are_not_read_are_named(kind: type[np.floating]) -> None:
    stream = BytesIO()
    tifffile.imwrite(stream, np.ones((8, 8), kind))
    with pytest.raises(UnsupportedImage, match="floating-point"):
        decode(stream.getvalue())


def test_the_photo_and_not_its_small_copy_has_too_many_pixels() -> None:
    with pytest.raises(TooManyPixels, match="96 x 64"):
        decode(raw_file(noise(96, 64), noise(9, 6)), Limits(max_pixels=6000))


def test_directories_that_refer_to_each_other_are_read_once() -> None:
    tiff = encode(noise(), "TIFF")
    (start,) = np.frombuffer(tiff, "<u4", 1, 4)
    children = retag(tiff, 279, value=int(start)).replace(b"\x17\x01\x04\0", b"\x4a\x01\x04\0")
    assert [found.offset for found in directories(children)] == [start]
