from pathlib import Path

import pytest

from models.datasets.atomic import atomic_write


def test_a_file_stands_at_its_place_once_it_is_complete(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "new" / "a") as file:
        file.write(b"text")
        assert not (tmp_path / "new" / "a").exists()
    assert (tmp_path / "new" / "a").read_bytes() == b"text"


def fail_half_way(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"half of the n")
        raise ZeroDivisionError


def test_what_fails_on_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        fail_half_way(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_what_fails_on_the_way_leaves_nothing_beside(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_half_way(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
