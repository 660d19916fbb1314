import zlib

import numpy as np
import pytest
from PIL import Image

from models.errors import UndecodableImage
from models.photo.image import decode
from models.photo.integrity import (
    MAX_DRAWN,
    MAX_SCANS,
    MeteredFile,
    check_png,
    check_scans,
    check_tiles,
)
from tests.images import chunk, encode, noise, png

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip


def interlaced(width: int, height: int) -> bytes:
    pixels = np.asarray(noise(width, height))
    rows = b""
    for left, top, right, down in PASSES:
        part = pixels[top::down, left::right]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    return rows


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (8, 8), (9, 17), (33, 7)])
def test_an_interlaced_png_is_read_to_its_end(size: tuple[int, int]) -> None:
    image = decode(png(*size, interlaced(*size), interlace=1))
    assert np.array_equal(image.pixels, np.asarray(noise(*size)))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (8, 8), (9, 17), (33, 7)])
def test_an_interlaced_png_that_lacks_a_byte_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UndecodableImage):
        check_png(png(*size, interlaced(*size)[:-1], interlace=1), size)


@pytest.mark.parametrize(("depth", "row"), [(1, 2), (2, 3), (4, 5), (8, 9), (16, 18)])
def test_a_grey_png_that_lacks_a_byte_is_refused(depth: int, row: int) -> None:
    whole = bytes((row + 1) * 5)
    check_png(png(8 * row // depth, 5, whole, depth=depth, colour=0), (8 * row // depth, 5))
    with pytest.raises(UndecodableImage):
        check_png(
            png(8 * row // depth, 5, whole[:-1], depth=depth, colour=0), (8 * row // depth, 5)
        )


def test_a_png_may_hold_more_than_its_rows() -> None:
    assert decode(png(4, 4, bytes(4 * 13 + 100))).width == 4


def test_a_png_unfolds_no_further_than_it_needs() -> None:
    broken_after_10_mib = zlib.compress(bytes(10 * 2**20), 9)[:-4] + b"wrong"
    data = png(4, 4, b"")[:33] + chunk(b"IDAT", broken_after_10_mib)
    check_png(data, (4, 4))


def test_tiles_must_cover_the_image() -> None:
    check_tiles([(0, 0, 10, 5), (0, 5, 10, 8)], (10, 8))
    with pytest.raises(UndecodableImage):
        check_tiles([(0, 0, 10, 5), (0, 0, 10, 5)], (10, 8))


SCAN = b"\xff\xda\0\x02"
END = b"\xff\xd9"


def test_a_jpeg_may_be_drawn_in_many_scans_but_not_in_any_number() -> None:
    check_scans(SCAN * (MAX_SCANS - 1) + END, 0, 100)
    with pytest.raises(UndecodableImage):
        check_scans(SCAN * MAX_SCANS + END, 0, 100)


def test_a_large_jpeg_may_be_drawn_in_fewer_scans() -> None:
    check_scans(SCAN * 9 + END, 0, MAX_DRAWN // 10)
    with pytest.raises(UndecodableImage):
        check_scans(SCAN * 10 + END, 0, MAX_DRAWN // 10)


def test_scans_behind_the_end_of_a_jpeg_do_not_count() -> None:
    check_scans(END + SCAN * 1000, 0, 100)


def test_scans_in_a_comment_do_not_count() -> None:
    comment = SCAN * 1000
    check_scans(b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + END, 0, 100)


def test_an_end_in_a_comment_hides_no_scans() -> None:
    with pytest.raises(UndecodableImage):
        check_scans(b"\xff\xfe\0\x04" + END + SCAN * 1000, 0, 100)


def test_a_marker_without_a_length_hides_no_scans() -> None:
    with pytest.raises(UndecodableImage):
        check_scans(b"\xff\x01" + b"\xff" * 9 + SCAN * 1000 + END, 0, 100)


def test_segments_between_scans_are_limited() -> None:
    with pytest.raises(UndecodableImage):
        check_scans(b"\xff\xfe\0\x02" * 10_000 + END, 0, 100)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("rows", [0, 1])
def test_a_grey_jpeg_is_complete(mode: str, progressive: bool, rows: int) -> None:
    plain = Image.new("RGB", (50, 70), (128, 128, 128)).convert(mode)
    data = encode(plain, "JPEG", progressive=progressive, restart_marker_rows=rows)
    assert decode(data).height == 70


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_jpeg_that_ends_too_early_is_refused(
    mode: str, options: dict[str, object], part: float
) -> None:
    data = encode(noise(200, 200).convert(mode), "JPEG", **options)
    start = data.index(b"\xff\xda") + 20
    cut = start + int((len(data) - start) * part)
    with pytest.raises(UndecodableImage, match="ends before"):
        decode(data[:cut] + b"\xff\xd9")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 1}],
    ids=["plain", "optimised", "progressive", "restarts"],
)
def test_a_jpeg_without_end_is_taken_if_no_row_is_missing(
    mode: str, options: dict[str, object]
) -> None:
    data = encode(noise(100, 60).convert(mode), "JPEG", **options)
    whole = decode(data).pixels
    for cut in (data[:-2], data[:-1], data[:-2] + bytes(8), data[:-2] + bytes(5000)):
        assert np.array_equal(decode(cut).pixels, whole)
    # Nearer to the end, only blocks that lie beyond the picture's edge may be missing.
    for missing in range(3, len(data) // 2, 171):
        for tail in (b"", bytes(8), bytes(5000)):
            with pytest.raises(UndecodableImage):
                decode(data[: -missing - 400] + tail)


# Files that make their decoder read for ever


def test_a_file_may_be_read_a_few_times_over() -> None:
    stream = MeteredFile(b"x" * 1000)
    for _ in range(3):
        stream.seek(0)
        assert stream.read() == b"x" * 1000


def test_a_large_file_may_not_be_read_any_number_of_times() -> None:
    stream = MeteredFile(bytes(2**24))

    def again() -> None:
        for _ in range(7):
            stream.seek(0)
            stream.read()

    with pytest.raises(UndecodableImage, match="again and again"):
        again()


def test_reads_of_nothing_count_as_well() -> None:
    stream = MeteredFile(b"")

    def forever() -> None:
        while True:
            stream.read(1)

    with pytest.raises(UndecodableImage):
        forever()
