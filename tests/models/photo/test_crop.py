"""Large photos are decoded at a reduced size if that is enough for the crop."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from models.embedder import Embedder, Row
from models.errors import FaceTooSmall, UndecodableImage
from models.photo.crop import CropResult, crop_face, crop_faces
from models.photo.detectors import YuNetDetector
from models.photo.face import Framing, align, find_face
from models.photo.image import decode
from tests.images import encode
from tests.odd import odd_photos
from tests.photos import group_photo, jpeg, open_photo

FRAMING = Framing(112, 0.0, "arcface")
# Crops that show more than a reduced photo holds.
LARGE, LARGER = Framing(600, 0.0, "arcface"), Framing(900, 0.0, "arcface")


def large(share: float = 1.0) -> Pillow.Image:
    """Return a photo of 12 megapixels in which the portrait fills this share of the height."""
    portrait = open_photo("grace").resize((round(2560 * share), round(3000 * share)))
    photo = Pillow.new("RGB", (4000, 3000), "grey")
    photo.paste(portrait, ((4000 - portrait.width) // 2, (3000 - portrait.height) // 2))
    return photo


def taken(photo: bytes, detector: YuNetDetector, framing: Framing = FRAMING) -> CropResult:
    return crop_face(photo, detector, "single", framing)


@pytest.fixture(scope="module")
def photo() -> bytes:
    return jpeg(large())


@pytest.fixture(scope="module")
def portrait(photo: bytes, yunet: YuNetDetector) -> CropResult:
    return taken(photo, yunet)


def test_a_large_face_is_cut_from_a_reduced_photo(portrait: CropResult) -> None:
    assert portrait.face.reduction == 4


def test_the_box_is_in_pixels_of_the_photo(
    portrait: CropResult, photo: bytes, yunet: YuNetDetector
) -> None:
    whole = find_face(decode(photo).pixels, yunet).box
    box = portrait.face.box
    assert (box.left, box.top) == pytest.approx((whole.left, whole.top), abs=0.05 * whole.width)
    assert box.width == pytest.approx(whole.width, rel=0.05)


def test_the_size_is_that_of_the_photo(portrait: CropResult) -> None:
    assert (portrait.width, portrait.height) == (4000, 3000)


def test_a_reduced_photo_gives_the_vector_of_the_whole(
    portrait: CropResult, photo: bytes, yunet: YuNetDetector, sface_embedder: Embedder
) -> None:
    found = find_face(decode(photo).pixels, yunet)
    whole = align(found, yunet, FRAMING)
    one, other = sface_embedder([portrait.crop.pixels, whole.pixels])
    assert isinstance(one, Row)
    assert isinstance(other, Row)
    assert float(one.vector @ other.vector) > 0.995


def test_a_crop_that_shows_more_is_cut_from_the_whole_photo(yunet: YuNetDetector) -> None:
    portrait = taken(jpeg(large(share=0.5)), yunet, LARGE)
    assert portrait.face.reduction == 1
    assert portrait.face.pixels.shape == (3000, 4000, 3)


def test_a_photo_that_lies_on_its_side_is_turned_whole(yunet: YuNetDetector) -> None:
    photo = large(share=0.5)
    upright = taken(jpeg(photo), yunet, LARGE)
    turned = taken(jpeg(photo.rotate(90, expand=True)), yunet, LARGE)
    assert turned.face.turns == 3
    assert turned.face.pixels.shape == upright.face.pixels.shape == (3000, 4000, 3)
    apart = np.abs(turned.face.face.landmarks - upright.face.face.landmarks)
    assert apart.max() < 20  # the detector's landmarks are whole pixels of 320, ten of these


def test_a_face_is_measured_in_pixels_of_the_photo(photo: bytes, yunet: YuNetDetector) -> None:
    with pytest.raises(FaceTooSmall):
        crop_face(photo, yunet, "single", FRAMING, min_face_px=3000)
    crop_face(photo, yunet, "single", FRAMING, min_face_px=800)


def test_orientation_is_applied_to_a_reduced_photo(yunet: YuNetDetector) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    stream = BytesIO()
    large().rotate(90, expand=True).save(stream, "JPEG", exif=exif)
    portrait = taken(stream.getvalue(), yunet)
    assert (portrait.width, portrait.height, portrait.face.turns) == (4000, 3000, 0)


def test_a_large_photo_that_stops_early_is_refused(photo: bytes) -> None:
    with pytest.raises(UndecodableImage):
        decode(photo[: len(photo) * 2 // 3], shortest=640)


def test_a_large_photo_that_ends_in_grey_is_whole() -> None:
    image = decode(jpeg(large(share=0.5)), shortest=640)
    assert image.reduction == 4


def large_group() -> bytes:
    """Return a photo of 9 megapixels of two people, one nearer than the other."""
    return jpeg(Pillow.open(BytesIO(group_photo())).resize((3808, 2400)))


def test_all_faces_of_a_photo_are_cut_as_the_largest_is_alone(yunet: YuNetDetector) -> None:
    photo = large_group()
    alone = crop_face(photo, yunet, "largest", FRAMING)
    first, second = crop_faces(photo, yunet, 5, FRAMING)
    np.testing.assert_array_equal(first.crop.pixels, alone.crop.pixels)
    assert first.face.box.area > second.face.box.area
    (only,) = crop_faces(photo, yunet, 1, FRAMING)
    assert only.face.box == first.face.box


def test_a_photo_of_many_is_decoded_once_small_and_once_whole(yunet: YuNetDetector) -> None:
    first, second = crop_faces(large_group(), yunet, 5, LARGER)
    assert first.face.pixels is second.face.pixels
    assert (first.face.pixels.shape, first.face.reduction) == ((2400, 3808, 3), 1)
    assert (second.decode_s, second.detect_s) == (0, 0)
    assert min(first.decode_s, first.detect_s, first.align_s, second.align_s) > 0


@pytest.mark.parametrize(
    ("size", "reduction"), [((1279, 2000), 1), ((1280, 1280), 2), ((2560, 4000), 4), ((9, 9), 1)]
)
def test_the_shorter_side_stays_as_long_as_asked_for(size: tuple[int, int], reduction: int) -> None:
    image = decode(jpeg(ImageOps.pad(open_photo("grace"), size)), shortest=640)
    assert image.reduction == reduction
    assert min(image.pixels.shape[:2]) >= min(640, *size)


def test_a_photo_shows_its_face_whatever_file_it_is_in(yunet: YuNetDetector) -> None:
    photo = open_photo("grace").resize((256, 300))
    plain = taken(encode(photo, "BMP"), yunet)
    unlike = {
        name: (shown.width, shown.height, brightness)
        for name, file in odd_photos(photo).items()
        for shown in [taken(file, yunet)]
        for brightness in [abs(float(shown.crop.pixels.mean()) - float(plain.crop.pixels.mean()))]
        if shown.face.box.overlap(plain.face.box) < 0.8 or brightness > 4
    }
    assert unlike == {}
