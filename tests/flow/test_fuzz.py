"""A few of the inputs that `make reliability` tries by the ten thousand."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings

from tests.tools.reliability.decoding import decode_row
from tests.tools.reliability.mutations import Bend, Kind, bends
from tests.tools.reliability.samples import FORMATS, faces, images
from tests.tools.reliability.talking import talk_row

SAMPLE = bytes(range(100))


def test_bent_images_are_decoded_or_refused(tmp_path: Path) -> None:
    row = decode_row(800, 1, tmp_path)
    assert row.ok, row
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_ends_its_process_is_found_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Less time than any image takes stands for an image that takes too much of it.
    row = decode_row(200, 1, tmp_path, input_s=1e-6)
    assert not row.ok
    assert "seed 1" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["image-1.bin"]


def test_wrong_requests_are_answered_and_the_server_goes_on(tmp_path: Path) -> None:
    row = talk_row(640, 1, tmp_path)
    assert row.ok, row


def test_samples_hold_a_face_in_every_format() -> None:
    assert set(faces()) == set(FORMATS)
    assert len(images()) > 200


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_bend_changes_bytes(kind: Kind) -> None:
    assert Bend(kind, False, 10, 5, 7).apply(SAMPLE, b"other", 0) != SAMPLE


@settings(database=None, derandomize=True)
@given(bends())
def test_the_first_bytes_are_kept_as_told(bend: Bend) -> None:
    assert bend.apply(SAMPLE, b"other", 18)[:18] == SAMPLE[:18]
