"""Samples of more than 8 bits are scaled by the bits in use."""

import numpy as np
import pytest

from models.photo.depth import stretch, to_8_bits
from models.photo.image import decode
from tests.images import noise, png


@pytest.mark.parametrize(
    ("largest", "bits"), [(255, 8), (256, 10), (1023, 10), (4095, 12), (9999, 14), (65535, 16)]
)
def test_the_bits_in_use_are_those_of_the_largest_sample(largest: int, bits: int) -> None:
    samples = np.array([[0, largest]], np.uint16)
    assert to_8_bits(samples).tolist() == [[0, largest >> (bits - 8)]]


def test_known_bits_count_more_than_the_largest_sample() -> None:
    assert to_8_bits(np.array([[160]], np.uint16), 12).tolist() == [[10]]


def test_low_bits_of_colours_are_kept_where_the_high_ones_are_empty() -> None:
    drawn = np.asarray(noise(10, 10))
    rows = b"".join(b"\0" + row.tobytes() for row in drawn.astype(">u2"))
    assert np.array_equal(decode(png(10, 10, rows, depth=16)).pixels, drawn)


def test_alpha_of_16_bits_keeps_its_high_byte() -> None:
    samples = np.zeros((4, 4, 4), ">u2")
    samples[...] = (1000, 0, 0, 0x3333)
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    # A fifth of 250 and four fifths of 255.
    assert decode(png(4, 4, rows, depth=16, colour=6)).pixels[0, 0].tolist() == [254, 204, 204]


def test_stray_values_do_not_darken_a_photo() -> None:
    values = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100)
    bright = values.copy()
    bright[0, :5], bright[1, :5] = 1e6, -1e6
    assert np.abs(stretch(bright).astype(int) - stretch(values))[2:].max() <= 1


def test_black_stays_black() -> None:
    assert not to_8_bits(np.zeros((2, 2), np.uint16)).any()
