"""Read CSV lists from any program, and write lists that every spreadsheet program reads.

A bad row does not spoil the others. What cannot be used is a `RejectedFile`, and a list of these
is a CSV too.
"""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from io import StringIO
from pathlib import Path
from unicodedata import category

from models.datasets.atomic import atomic_write
from models.errors import LikenessError

UNREADABLE = "unreadable"  # the code of a file that cannot be read; others are those of errors
_BAD_ROW = "invalid_row"

# No name, path or group is longer.
_LONGEST = 4096
# A quoted cell can have several lines, but an unclosed quotation mark must not consume the rest.
_MOST_LINES = 50
# Spreadsheets take such a cell for a formula, after blanks and with full-width signs too.
_FORMULA = re.compile(r"[\s']*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_SEPARATORS = (",", ";", "\t")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """Say why a file was rejected: the code of the error and its sentence."""

    path: str
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Row:
    """Hold the cells of a row by column, and its number; the header is row 1."""

    number: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


@dataclass(frozen=True, slots=True)
class Table:
    """Hold the rows of a list, and the rows that cannot be used, with reasons."""

    path: Path
    columns: list[str]
    rows: list[Row]
    unusable: list[RejectedFile]

    def bad_row(self, number: int, sentence: str) -> RejectedFile:
        """Return the entry for a row that cannot be used."""
        return bad_row(self.path, number, sentence)


def bad_row(path: Path, number: int, sentence: str) -> RejectedFile:
    """Return the entry for a row that cannot be used."""
    return RejectedFile(f"{path.name}, row {number}", _BAD_ROW, sentence)


def read_table(path: Path, columns: Sequence[str], needed: Sequence[str] | None = None) -> Table:
    """Read a list that has at least these columns; those in `needed` must not be empty.

    By default all `columns` are needed. Cells are separated by commas, semicolons or tabs. Rows
    that cannot be used are listed in the result. Raises LikenessError if the file cannot be read or
    lacks a column.
    """
    records = _records(_text(path), columns)
    head = next(records, (1, []))[1]
    if isinstance(head, str):
        raise LikenessError(f"{path}, row 1: {head}")
    names = [name.strip().lower() for name in head]
    missing = [name for name in columns if name not in names]
    if missing:
        raise LikenessError(
            f"{path} has no column {', '.join(missing)}; its first row must name at least the "
            f"columns {','.join(columns)}."
        )
    rows, unusable = [], []
    for number, cells in records:
        wrong = cells if isinstance(cells, str) else _wrong(names, cells, needed or columns)
        if isinstance(cells, str) or wrong is not None:
            unusable.append(bad_row(path, number, str(wrong)))
        elif any(cells):
            padded = [*cells, *("" for _ in names)]
            rows.append(Row(number, dict(zip(names, padded, strict=False))))
    return Table(path, names, rows, unusable)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as exc:
        raise LikenessError(f"{path} cannot be read: {exc}") from exc
    encoding, name = _encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as exc:
        row = data.count(b"\n", 0, exc.start) + 1
        seems = "" if name != "UTF-8" else _seems(data)
        raise LikenessError(
            f"{path} is not {name}: row {row} has the byte 0x{data[exc.start]:02x}{seems}. Save it "
            "as `CSV UTF-8`."
        ) from exc


def _encoding(data: bytes) -> tuple[str, str]:
    """Return the encoding, by its byte order mark or the zeros of UTF-16, and its usual name."""
    for mark, encoding, name in _MARKS:
        if data.startswith(mark):
            return encoding, name
    if data[1:2] == b"\0" and data[:1] != b"\0":
        return "utf-16-le", "UTF-16"
    if data[:1] == b"\0" and data[1:2] not in (b"\0", b""):
        return "utf-16-be", "UTF-16"
    return "utf-8", "UTF-8"


def _seems(data: bytes) -> str:
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return ""
    return "; it may be Windows-1252"


def _records(text: str, columns: Sequence[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of each row with its cells, or with what is wrong; skip blank rows."""
    lines = [line.rstrip("\n") for line in StringIO(text, newline=None)]
    at, separator = 0, None
    if lines and re.fullmatch(r"sep=.", lines[0], re.IGNORECASE):
        at, separator = 1, lines[0][-1]  # Excel's line that names the separator
    while at < len(lines):
        if separator is None:
            separator = _separator(lines[at], columns)
        number, taken = at + 1, 1
        cells = _cells(lines[at], separator)
        while cells is None and taken < _MOST_LINES and at + taken < len(lines):
            taken += 1
            cells = _cells("\n".join(lines[at : at + taken]), separator)
        if cells is None or (isinstance(cells, str) and taken > 1):
            cells, taken = "A quotation mark is not closed.", 1
        at += taken
        if cells:
            yield number, cells


def _separator(head: str, columns: Sequence[str]) -> str:
    for separator in _SEPARATORS:
        cells = _cells(head, separator)
        if isinstance(cells, list) and set(columns) <= {cell.lower() for cell in cells}:
            return separator
    return ","


def _cells(line: str, separator: str) -> list[str] | str | None:
    """Return the cells of a line, or what is wrong with it, or None if a quoted cell is open."""
    try:
        cells = next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None
        return f"This is not a row of a CSV: {error}."
    return [cell.strip() for cell in cells]


def _wrong(columns: Sequence[str], cells: Sequence[str], needed: Sequence[str]) -> str | None:
    """Return what is wrong with a row, or None."""
    if any(cells[len(columns) :]):
        return (
            f"The row has {len(cells)} cells and the first row {len(columns)}: put cells that "
            "contain a separator into quotation marks."
        )
    if not any(cells):
        return None
    named = dict(zip(columns, cells, strict=False))
    for name in needed:
        if not named.get(name):
            return f"`{name}` is empty."
    for name, cell in named.items():
        if len(cell) > _LONGEST:
            return f"`{name}` is longer than {_LONGEST:,} characters."
        if name in needed and any(category(character) == "Cc" for character in cell):
            return f"`{name}` contains a control character."
    return None


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


def write_rejected(path: Path, rows: Sequence[RejectedFile]) -> None:
    """Write the list as a CSV and replace an earlier one; without rows, delete it."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    names = [field.name for field in fields(RejectedFile)]
    write_table(path, names, (astuple(row) for row in sorted(rows, key=lambda row: row.path)))


def read_rejected(path: Path) -> list[RejectedFile]:
    """Read the list that `write_rejected` wrote; raises LikenessError for any other file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        try:
            rows = [(row["path"], row["code"], row["sentence"]) for row in csv.DictReader(file)]
            return [RejectedFile(*(unescape_formula(cell) for cell in row)) for row in rows]
        except (LookupError, AttributeError, csv.Error) as exc:
            raise LikenessError(f"{path} is not a list of rejected files; remove it.") from exc
