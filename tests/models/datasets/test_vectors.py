import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pyarrow import dataset

from models.datasets.tables import RejectedFile, read_rejected, write_rejected
from models.datasets.vectors import (
    Format,
    VectorFolder,
    VectorOrigin,
    VectorRow,
    exclusive_writer,
)
from models.errors import LikenessError
from models.photo.face import Box

ABOUT = VectorOrigin("tiny", "f" * 64, 4)


def row(path: str) -> VectorRow:
    vector = np.random.default_rng(len(path)).normal(size=4).astype(np.float32)
    return VectorRow(path, "0" * 64, vector, Box(1, 2, 30, 40), 0.5)


@pytest.mark.parametrize("format_", get_args(Format))
def test_what_was_added_is_done_for_the_next_run(tmp_path: Path, format_: Format) -> None:
    VectorFolder(tmp_path / "out", ABOUT, format_).add([row("b.jpg"), row("a.jpg")])
    assert VectorFolder(tmp_path / "out", ABOUT, format_).embedded_paths() == {"a.jpg", "b.jpg"}


@pytest.mark.parametrize("format_", get_args(Format))
def test_later_parts_leave_earlier_ones_alone(tmp_path: Path, format_: Format) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        VectorFolder(tmp_path / "out", ABOUT, format_).add([row(name)])
    folder = VectorFolder(tmp_path / "out", ABOUT, format_)
    assert folder.embedded_paths() == {"a.jpg", "b.jpg", "c.jpg"}


def test_a_part_that_somebody_removed_is_not_a_part_to_write_over(tmp_path: Path) -> None:
    folder = VectorFolder(tmp_path / "out", ABOUT, "npz")
    folder.add([row("a.jpg")])
    folder.add([row("b.jpg")])
    (tmp_path / "out" / "part-000000.npz").unlink()
    VectorFolder(tmp_path / "out", ABOUT, "npz").add([row("c.jpg")])
    assert VectorFolder(tmp_path / "out", ABOUT, "npz").embedded_paths() == {"b.jpg", "c.jpg"}


def test_parquet_reads_as_one_table_that_names_its_bundle(tmp_path: Path) -> None:
    folder = VectorFolder(tmp_path / "out", ABOUT, "parquet")
    folder.add([row("b.jpg"), row("a.jpg")])
    folder.add([row("long.jpg")])
    folder.add([RejectedFile("x.jpg", "no_face", "No face.")])
    table = dataset.dataset(tmp_path / "out").to_table()
    assert table["path"].to_pylist() == ["a.jpg", "b.jpg", "long.jpg"]
    assert table["vector"].to_pylist()[2] == pytest.approx(row("long.jpg").vector.tolist())
    assert table["box"].to_pylist()[0] == [1, 2, 30, 40]
    assert table.schema.metadata[b"fingerprint"] == b"f" * 64


def test_npz_holds_the_same_by_name(tmp_path: Path) -> None:
    VectorFolder(tmp_path / "out", ABOUT, "npz").add([row("a.jpg")])
    with np.load(tmp_path / "out" / "part-000000.npz") as part:
        np.testing.assert_array_equal(part["vector"][0], row("a.jpg").vector)
        assert str(part["fingerprint"]) == "f" * 64


def test_rejected_files_are_listed_with_their_reason(tmp_path: Path) -> None:
    rejected = RejectedFile("x.jpg", "no_face", "No face.")
    VectorFolder(tmp_path / "out", ABOUT, "npz").add([rejected])
    assert VectorFolder(tmp_path / "out", ABOUT, "npz").rejected == [rejected]


def test_a_file_that_has_a_vector_after_all_is_rejected_no_more(tmp_path: Path) -> None:
    folder = VectorFolder(tmp_path / "out", ABOUT, "npz")
    folder.add([RejectedFile("a.jpg", "no_face", "No face.")])
    folder.add([row("a.jpg")])
    assert VectorFolder(tmp_path / "out", ABOUT, "npz").rejected == []


@pytest.mark.parametrize(
    "other", [replace(ABOUT, fingerprint="e" * 64), replace(ABOUT, bundle="other")]
)
def test_vectors_of_two_bundles_are_never_mixed(tmp_path: Path, other: VectorOrigin) -> None:
    VectorFolder(tmp_path / "out", ABOUT, "npz").add([row("a.jpg")])
    with pytest.raises(LikenessError, match="another folder"):
        VectorFolder(tmp_path / "out", other, "npz")


def test_formats_are_never_mixed(tmp_path: Path) -> None:
    VectorFolder(tmp_path / "out", ABOUT, "npz").add([row("a.jpg")])
    with pytest.raises(LikenessError, match="format npz"):
        VectorFolder(tmp_path / "out", ABOUT, "parquet")


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(LikenessError, match="other files"):
        VectorFolder(tmp_path, ABOUT, "npz")


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    VectorFolder(tmp_path / "out", ABOUT, "npz").add([row("a.jpg")])
    (tmp_path / "out" / ".part-000001.npz.17.partial").write_bytes(b"half")
    VectorFolder(tmp_path / "out", ABOUT, "npz")
    assert not list((tmp_path / "out").glob("*.partial"))


def test_a_run_killed_before_its_first_file_was_whole_is_no_folder_of_others(
    tmp_path: Path,
) -> None:
    (tmp_path / "._about.json.17.partial").write_bytes(b"half")
    VectorFolder(tmp_path, ABOUT, "npz").add([row("a.jpg")])
    assert VectorFolder(tmp_path, ABOUT, "npz").embedded_paths() == {"a.jpg"}


def test_two_runs_never_write_to_one_folder(tmp_path: Path) -> None:
    with (
        exclusive_writer(tmp_path / "out"),
        pytest.raises(LikenessError, match="Another run"),
        exclusive_writer(tmp_path / "out"),
    ):
        pass


def test_a_folder_is_free_again_when_its_run_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive_writer(tmp_path / "out"):
            VectorFolder(tmp_path / "out", ABOUT, "npz").add([row("a.jpg")])


# The list of rejected files


ROWS = [RejectedFile("b.jpg", "no_face", 'Said "no", twice.'), RejectedFile("a.jpg", "x", "y")]


def test_the_list_reads_back_by_path(tmp_path: Path) -> None:
    write_rejected(tmp_path / "rejected.csv", ROWS)
    assert read_rejected(tmp_path / "rejected.csv") == ROWS[::-1]


def test_without_rows_an_earlier_list_goes(tmp_path: Path) -> None:
    write_rejected(tmp_path / "rejected.csv", ROWS)
    write_rejected(tmp_path / "rejected.csv", [])
    assert read_rejected(tmp_path / "rejected.csv") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["two\nlines.jpg", "a\rb.jpg", os.fsdecode(b"caf\xe9.jpg")])
def test_odd_names_read_back_as_they_were(tmp_path: Path, name: str) -> None:
    write_rejected(tmp_path / "rejected.csv", [RejectedFile(name, "no_face", "No face.")])
    assert read_rejected(tmp_path / "rejected.csv")[0].path == name
