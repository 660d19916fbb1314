"""The list of files that could not be used, and why."""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from models.datasets.spreadsheets import original, write_table
from models.errors import LikenessError

UNREADABLE = "unreadable"  # no bytes can be had of it; all other codes are those of errors


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """Hold why one file could not be used."""

    path: str
    code: str
    sentence: str


def write_rejected(path: Path, rows: Sequence[RejectedFile]) -> None:
    """Write the list as a CSV, in place of an earlier one; without rows there is none."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    names = [field.name for field in fields(RejectedFile)]
    write_table(path, names, (astuple(row) for row in sorted(rows, key=lambda row: row.path)))


def read_rejected(path: Path) -> list[RejectedFile]:
    """Read what `write_rejected` wrote; raises LikenessError for any other file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        try:
            rows = [(row["path"], row["code"], row["sentence"]) for row in csv.DictReader(file)]
            return [RejectedFile(*(original(cell) for cell in row)) for row in rows]
        except (LookupError, AttributeError, csv.Error) as exc:
            raise LikenessError(f"{path} is no list of files that a run wrote; remove it.") from exc
