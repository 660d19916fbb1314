"""Lists in CSV, written so that a spreadsheet takes no cell for a formula."""

import csv
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from models.datasets.atomic import atomic_write

# Spreadsheets compute what begins so, full-width forms too, and pass over blanks before it.
_FORMULA = re.compile(r"[\s']*[=+\-@\uff1d\uff0b\uff0d\uff20]")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a list, whole or not at all; a spreadsheet takes no cell of it for a formula."""
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([escape_formula(cell) for cell in row] for row in rows)
    with atomic_write(path) as file:
        # Names of files need not be text; those that are not come back as they were.
        file.write(text.getvalue().encode(errors="surrogateescape"))


def escape_formula(cell: str) -> str:
    """Return a cell that is text to a spreadsheet whatever it says; `original` turns it back."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescape_formula(cell: str) -> str:
    """Return what `harmless` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
