"""The list of files that could not be used, and why."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path

from models.whole import whole_file

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
    text = StringIO()
    names = [field.name for field in fields(RejectedFile)]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(asdict(row) for row in sorted(rows, key=lambda row: row.path))
    with whole_file(path) as file:
        # Names of files need not be text; those that are not come back as they were.
        file.write(text.getvalue().encode(errors="surrogateescape"))


def read_rejected(path: Path) -> list[RejectedFile]:
    """Read what `write_rejected` wrote."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [RejectedFile(**row) for row in csv.DictReader(file)]
