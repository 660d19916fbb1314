import os
from pathlib import Path

import pytest

from models.datasets.vectors import RejectedFile, read_rejected, write_rejected

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
