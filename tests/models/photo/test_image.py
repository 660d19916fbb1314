import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from models.errors import (
    ImageError,
    ImageTooLarge,
    NotAnImage,
    PixelBudgetSpent,
    TooManyPixels,
    UndecodableImage,
)
from models.photo.image import Limits, PixelBudget, decode, orientation
from tests.hostile import Case, corpus
from tests.images import chunk, encode, exif, noise, picture, png, retag

Array = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")


def far_apart(one: Array, other: Array) -> float:
    """Return the mean absolute difference; infinite if the shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# Formats


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"big_tiff": True}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_come_back_exactly(form: str, options: dict[str, object]) -> None:
    drawn = noise()
    image = decode(encode(drawn, form, **options))
    assert np.array_equal(image.pixels, np.asarray(drawn))


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "HEIF"])
def test_lossy_formats_come_back_nearly(form: str) -> None:
    drawn = picture()
    assert far_apart(decode(encode(drawn, form)).pixels, np.asarray(drawn)) < 3


def test_a_gif_comes_back_with_its_palette() -> None:
    drawn = picture().quantize(64)
    image = decode(encode(drawn, "GIF"))
    assert np.array_equal(image.pixels, np.asarray(drawn.convert("RGB")))


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_says_its_format_and_size(form: str) -> None:
    image = decode(encode(picture(96, 64), form))
    assert (image.format, image.width, image.height) == (form, 96, 64)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 2)])
def test_small_and_thin_images_decode(form: str, size: tuple[int, int]) -> None:
    image = decode(encode(Pillow.new("RGB", size, "brown"), form))
    assert (image.width, image.height) == size


@pytest.mark.parametrize("form", FORMATS)
def test_pixels_are_contiguous_and_writable(form: str) -> None:
    pixels = decode(encode(picture(), form, **({"exif": exif(6)} if form == "JPEG" else {}))).pixels
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_the_first_of_several_frames_is_taken(form: str) -> None:
    frames = [Pillow.new("RGB", (64, 64), colour) for colour in ("red", "blue", "lime")]
    image = decode(encode(frames[0], form, save_all=True, append_images=frames[1:]))
    assert far_apart(image.pixels, np.asarray(frames[0])) < 3


def test_a_phone_picture_of_several_pictures_is_a_jpeg() -> None:
    data = encode(noise(), "MPO", save_all=True, append_images=[noise(seed=1)])
    assert decode(data).format == "JPEG"


def test_bytes_behind_a_jpeg_are_ignored() -> None:
    data = encode(noise(), "JPEG")
    assert np.array_equal(decode(data + b"tail" * 999).pixels, decode(data).pixels)


# Orientation


def stored(upright: Array, turn: int) -> Array:
    """Turn pixels as a camera does that stores `turn` as their orientation."""
    match turn:
        case 2:
            turned = upright[:, ::-1]
        case 3:
            turned = upright[::-1, ::-1]
        case 4:
            turned = upright[::-1]
        case 5:
            turned = upright.transpose(1, 0, 2)
        case 6:
            turned = np.rot90(upright, 1)
        case 7:
            turned = upright[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            turned = np.rot90(upright, -1)
        case _:
            turned = upright
    return np.ascontiguousarray(turned)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_orientation_comes_back_upright(form: str, turn: int) -> None:
    upright = np.asarray(picture(64, 96))
    options: dict[str, object] = {"tiffinfo": {0x0112: turn}} if form == "TIFF" else {}
    data = encode(Pillow.fromarray(stored(upright, turn)), form, **options or {"exif": exif(turn)})
    assert far_apart(decode(data).pixels, upright) < 3


CORRUPT = {
    "empty": b"Exif\0\0",
    "garbage": b"Exif\0\0" + b"garbage" * 20,
    "far": b"Exif\0\0MM\0*\x7f\xff\xff\xff",
    "long": b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    "cut": exif(6)[:24],
    "zero": exif(0),
    "nine": exif(9),
    "short value past its end": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02" + b"\x7f" * 8,
}


@pytest.mark.parametrize("block", CORRUPT.values(), ids=CORRUPT)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_corrupt_exif_counts_as_none(form: str, block: bytes) -> None:
    image = decode(encode(picture(), form, exif=block))
    assert np.array_equal(image.pixels, decode(encode(picture(), form)).pixels)


def test_corrupt_exif_does_not_stop_an_avif() -> None:
    block = Pillow.Exif()
    block[0x010F] = "a camera of some make"
    data = encode(picture(), "AVIF", exif=block)
    start = data.rindex(b"*\0", 0, data.index(b"a camera")) - 2
    assert decode(data[:start] + b"XX" + data[start + 2 :]).width == 96


@pytest.mark.parametrize(("turn", "field"), [(6, 3), (8, 4)])
def test_an_orientation_may_be_a_short_or_a_long(turn: int, field: int) -> None:
    assert orientation(exif(turn, field)) == turn


def test_an_orientation_may_be_little_endian() -> None:
    block = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x05\0\0\0"
    assert orientation(block) == 5


# Modes


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_palette_becomes_its_colours(form: str) -> None:
    drawn = picture().quantize(200)
    assert np.array_equal(decode(encode(drawn, form)).pixels, np.asarray(drawn.convert("RGB")))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_grey_becomes_three_equal_channels(form: str) -> None:
    grey = picture().convert("L")
    pixels = decode(encode(grey, form)).pixels
    assert np.array_equal(pixels, np.repeat(np.asarray(grey)[..., None], 3, 2))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_one_bit_becomes_black_and_white(form: str) -> None:
    drawn = picture().convert("1")
    pixels = decode(encode(drawn, form)).pixels
    assert np.array_equal(pixels[..., 1], 255 * np.asarray(drawn, np.uint8))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(form: str) -> None:
    grey = np.asarray(picture().convert("L"))
    deep = Pillow.fromarray(grey.astype(np.uint16) * 256 + 200)
    assert np.array_equal(decode(encode(deep, form)).pixels[..., 0], grey)


def test_16_bit_colour_keeps_its_high_byte() -> None:
    drawn = np.asarray(noise(10, 10))
    deep = np.stack([drawn, np.full_like(drawn, 200)], -1).reshape(10, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    assert np.array_equal(decode(png(10, 10, rows, depth=16)).pixels, drawn)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_without_a_range_are_stretched(kind: type[np.generic]) -> None:
    grey = np.linspace(0, 255, 100).round().reshape(10, 10)
    pixels = decode(encode(Pillow.fromarray((grey * 77 - 1000).astype(kind)), "TIFF")).pixels
    assert np.array_equal(pixels[..., 0], grey)


def test_values_without_a_range_may_be_all_equal() -> None:
    level = Pillow.fromarray(np.full((8, 8), 0.5, np.float32))
    assert not decode(encode(level, "TIFF")).pixels.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_undecodable(value: float) -> None:
    holed = np.ones((8, 8), np.float32)
    holed[3, 3] = value
    with pytest.raises(UndecodableImage):
        decode(encode(Pillow.fromarray(holed), "TIFF"))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(form: str) -> None:
    drawn = picture().convert("CMYK")
    assert far_apart(decode(encode(drawn, form)).pixels, np.asarray(drawn.convert("RGB"))) < 4


def test_lab_becomes_rgb() -> None:
    data = encode(picture().convert("LAB"), "TIFF")
    assert far_apart(decode(data).pixels, np.asarray(picture())) < 4


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGBA"), ("PNG", "LA"), ("TIFF", "RGBA"), ("TIFF", "LA"), ("WEBP", "RGBA")],
)
def test_alpha_lets_white_through(form: str, mode: str) -> None:
    drawn = Pillow.new("RGBA", (16, 16), (40, 40, 40, 51)).convert(mode)
    data = encode(drawn, form, **({"lossless": True} if form == "WEBP" else {}))
    # A fifth of 40 and four fifths of 255.
    assert np.unique(decode(data).pixels).tolist() == [212]


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_what_is_hidden_by_alpha_stays_hidden(form: str) -> None:
    hidden = noise().copy()
    hidden.putalpha(0)
    assert decode(encode(hidden, form)).pixels.min() > 250


def test_transparent_entries_of_a_palette_become_white() -> None:
    drawn = Pillow.new("P", (4, 1))
    drawn.putpalette([10, 20, 30, 200, 0, 0])
    drawn.putdata([0, 1, 0, 1])
    pixels = decode(encode(drawn, "PNG", transparency=b"\x00\xff")).pixels
    assert pixels[0, :2].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_a_palette_with_its_own_alpha_channel_becomes_white() -> None:
    drawn = picture().quantize(64).convert("PA")
    drawn.putalpha(0)
    assert decode(encode(drawn, "TIFF")).pixels.min() == 255


def test_a_transparent_colour_becomes_white() -> None:
    data = png(2, 1, b"\0\x01\x02\x03\x09\x09\x09", before=chunk(b"tRNS", b"\0\x01\0\x02\0\x03"))
    assert decode(data).pixels[0].tolist() == [[255, 255, 255], [9, 9, 9]]


# Limits


def test_as_many_bytes_as_allowed_are_read() -> None:
    data = encode(picture(), "PNG")
    assert decode(data, Limits(max_bytes=len(data))).width == 96


def test_more_bytes_than_allowed_are_refused() -> None:
    data = encode(picture(), "PNG")
    with pytest.raises(ImageTooLarge, match=str(len(data))):
        decode(data, Limits(max_bytes=len(data) - 1))


@pytest.mark.parametrize("form", FORMATS)
def test_as_many_pixels_as_allowed_are_decoded(form: str) -> None:
    assert decode(encode(picture(96, 64), form), Limits(max_pixels=96 * 64)).width == 96


@pytest.mark.parametrize("form", FORMATS)
def test_more_pixels_than_allowed_are_refused(form: str) -> None:
    with pytest.raises(TooManyPixels, match="96 x 64"):
        decode(encode(picture(96, 64), form), Limits(max_pixels=96 * 64 - 1))


@pytest.mark.parametrize("form", FORMATS)
def test_images_that_belong_together_have_a_budget_of_pixels(form: str) -> None:
    data, limits = encode(picture(96, 64), form), Limits(budget=PixelBudget(2 * 96 * 64))
    for _ in range(2):
        decode(data, limits)
    with pytest.raises(PixelBudgetSpent):
        decode(data, limits)


def test_a_jpeg_takes_as_many_pixels_of_a_budget_as_are_decoded() -> None:
    data, limits = encode(picture(960, 640), "JPEG"), Limits(budget=PixelBudget(2 * 120 * 80))
    assert [decode(data, limits, shortest=80).reduction for _ in range(2)] == [8, 8]
    with pytest.raises(PixelBudgetSpent):
        decode(data, limits, shortest=80)


def header_only(form: str) -> bytes:
    """Cut a file of 96 x 64 where its header ends, so that no pixel is left to decode."""
    data = encode(noise(), form)
    match form:
        case "JPEG":
            return data[: data.index(b"\xff\xda") + 14]
        case "PNG":
            return data[: data.index(b"IDAT") + 4]
        case "GIF":
            return data[: data.index(b",\0\0\0\0") + 11]
        case "BMP":
            return data[:54]
        case _:
            # The directory comes first in what Pillow writes; the strip is torn off.
            return retag(data, 273, value=10**9)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_pixels_are_counted_before_any_is_decoded(form: str) -> None:
    with pytest.raises(TooManyPixels):
        decode(header_only(form), Limits(max_pixels=96 * 64 - 1))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_a_header_alone_is_undecodable(form: str) -> None:
    with pytest.raises(UndecodableImage):
        decode(header_only(form))


def test_a_size_beyond_what_pillow_opens_is_too_many_pixels() -> None:
    with pytest.raises(TooManyPixels):
        decode(png(2**31 - 1, 2**31 - 1, b""))


# Damage


@pytest.mark.parametrize("data", [b"", b"\0", b"some text", b"BMW", b"<svg/>", b"%PDF-1.7"])
def test_what_has_no_signature_is_not_an_image(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        decode(data)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_part_of_a_file_is_undecodable(form: str, part: float) -> None:
    data = encode(noise().convert("P") if form == "GIF" else noise(), form)
    with pytest.raises(UndecodableImage):
        decode(data[: int(len(data) * part)])


def test_damage_carries_its_cause() -> None:
    with pytest.raises(UndecodableImage) as caught:
        decode(encode(noise(), "BMP")[:-100])
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("form", ["EPS", "PDF", "PPM", "ICO", "TGA", "JPEG2000", "SGI", "PCX"])
def test_other_formats_that_pillow_reads_are_refused(form: str) -> None:
    with pytest.raises(NotAnImage):
        decode(encode(picture(), form))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_an_image_error(data: bytes) -> None:
    try:
        decode(data)
    except ImageError:
        return


SAMPLES = [encode(noise(24, 16).convert("P") if form == "GIF" else noise(24, 16), form)
           for form in FORMATS]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(SAMPLES), st.data())
def test_any_mutation_decodes_or_raises_an_image_error(sample: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(sample) - 1))
    cut = data.draw(st.integers(0, 8))
    bent = sample[:at] + data.draw(st.binary(max_size=8)) + sample[at + cut :]
    try:
        decode(bent)
    except ImageError:
        return


def test_decoding_leaves_pillow_as_it_was() -> None:
    before = (Pillow.MAX_IMAGE_PIXELS, dict(Pillow.OPEN), dict(Pillow.SAVE))
    decode(encode(picture(), "HEIF"))
    assert (Pillow.MAX_IMAGE_PIXELS, dict(Pillow.OPEN), dict(Pillow.SAVE)) == before


# Hostile files


CASES = list(corpus())


def answer(case: Case) -> str:
    """Return the code of the problem, `no_face` where the file decodes."""
    try:
        decode(case.data)
    except ImageError as error:
        return error.code
    return "no_face"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_hostile_file_gets_its_answer(case: Case) -> None:
    assert answer(case) in case.codes


def test_there_are_hundreds_of_hostile_files_of_distinct_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 400


def test_the_same_hostile_files_are_built_every_time() -> None:
    assert list(corpus()) == CASES


def test_hostile_files_allow_only_answers_of_the_contract() -> None:
    known = {
        "not_an_image",
        "undecodable_image",
        "too_many_pixels",
        "image_too_large",
        "body_too_large",
        "no_face",
    }
    assert frozenset().union(*(case.codes for case in CASES)) == known
