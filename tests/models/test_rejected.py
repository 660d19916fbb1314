from pathlib import Path

from models.rejected import RejectedFile, read_rejected, write_rejected

ROWS = [RejectedFile("b.jpg", "no_face", 'Said "no", twice.'), RejectedFile("a.jpg", "x", "y")]


def test_the_list_reads_back_by_path(tmp_path: Path) -> None:
    write_rejected(tmp_path / "rejected.csv", ROWS)
    assert read_rejected(tmp_path / "rejected.csv") == ROWS[::-1]


def test_without_rows_an_earlier_list_goes(tmp_path: Path) -> None:
    write_rejected(tmp_path / "rejected.csv", ROWS)
    write_rejected(tmp_path / "rejected.csv", [])
    assert read_rejected(tmp_path / "rejected.csv") == []
    assert list(tmp_path.iterdir()) == []
