"""Write CSV lists in which a spreadsheet program finds no formulas."""

import csv
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from models.datasets.atomic import atomic_write

# Spreadsheets take such a cell for a formula, after blanks and with full-width signs too.
_FORMULA = re.compile(r"[\s']*[=+\-@\uff1d\uff0b\uff0d\uff20]")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV completely or not at all, with every cell escaped by `escape_formula`."""
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([escape_formula(cell) for cell in row] for row in rows)
    with atomic_write(path) as file:
        # File names can contain bytes that are not UTF-8; they are written unchanged.
        file.write(text.getvalue().encode(errors="surrogateescape"))


def escape_formula(cell: str) -> str:
    """Put a quotation mark before a cell that a spreadsheet would take for a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescape_formula(cell: str) -> str:
    """Undo `escape_formula`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
