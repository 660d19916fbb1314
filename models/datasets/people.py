"""List the people of a folder or a CSV, and which photos show them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from models.datasets.folders import contents_of, describe_no_photos, is_file, is_text
from models.datasets.names import as_name
from models.datasets.tables import UNREADABLE, RejectedFile, Row, Table, read_table
from models.errors import LikenessError

_BAD_NAME = "invalid_name"


@dataclass(frozen=True, slots=True)
class PeopleList:
    """Hold photos as `(path below folder, identity)`.

    `unusable` are files and rows with an error, `notes` are lines about what was skipped on
    purpose.
    """

    folder: Path
    photos: list[tuple[str, str]]
    unusable: list[RejectedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_people(source: Path, outside: bool = False) -> PeopleList:
    """List the person on each photo, from one folder per person or from a CSV `path,identity`.

    All photos below a person's folder show that person. Paths in the CSV are relative to its own
    folder, and may lead out of it only if `outside` is True. Raises LikenessError if there are no
    people.
    """
    return _of_folder(source) if source.is_dir() else _of_table(source, outside)


def path_below(name: str, folder: Path, outside: bool) -> str:
    """Return a path from a list relative to its folder.

    Backslashes, as in lists from Windows, become slashes. Raises LikenessError if the path leads
    out of the folder and `outside` does not allow it.
    """
    if "\\" in name and not is_file(folder / name):
        name = name.replace("\\", "/")
    path = os.path.normpath(name)
    if not outside and (os.path.isabs(path) or path.split(os.sep)[0] == ".."):
        raise LikenessError(f"{name} leads out of the folder {folder}; --outside allows that.")
    return PurePosixPath(path).as_posix()


def _of_folder(source: Path) -> PeopleList:
    contents = contents_of(source)
    photos: list[tuple[str, str]] = []
    unusable = list(contents.unusable)
    unnamed: dict[str, str] = {}
    flat = 0
    for file in contents.photos:
        path = file.relative_to(source)
        if len(path.parts) == 1:
            flat += 1
            unusable.append(RejectedFile(path.as_posix(), UNREADABLE, _NO_PERSON))
            continue
        try:
            photos.append((path.as_posix(), identity_of(path.parts[0])))
        except LikenessError as error:
            unnamed[path.parts[0]] = error.sentence
    unusable += [RejectedFile(name, _BAD_NAME, unnamed[name]) for name in sorted(unnamed)]
    if not photos:
        reason = _describe_no_people(source, flat, bool(unnamed)) or describe_no_photos(contents)
        example = source / "ada" / "1.jpg"
        raise LikenessError(
            f"{reason} Make a folder of photos for each person, such as {example}, or give a CSV "
            "path,identity."
        )
    return PeopleList(source, photos, unusable, contents.notes())


_NO_PERSON = "The photo is not in a person's folder."


def _describe_no_people(source: Path, flat: int, unnamed: bool) -> str:
    if flat:
        return f"{source} contains photos ({flat:,}), but no folders with photos."
    return f"{source} contains no folder whose name can be a person's." if unnamed else ""


def _of_table(source: Path, outside: bool) -> PeopleList:
    table = read_table(source, ("path", "identity"))
    rows, unusable = rows_with_files(table, "path", source.parent, outside)
    photos: list[tuple[str, str]] = []
    for row in rows:
        try:
            photos.append((row["path"], identity_of(row["identity"])))
        except LikenessError as error:
            unusable.append(table.bad_row(row.number, error.sentence))
    if not photos:
        raise LikenessError(describe_no_rows(table, unusable))
    return PeopleList(source.parent, photos, unusable)


def identity_of(name: str) -> str:
    """Return the normal form of a person's name; raises LikenessError if it is not allowed."""
    if not is_text(name):
        raise LikenessError("The name is not UTF-8.")
    try:
        return as_name(name)
    except ValueError as exc:
        raise LikenessError(f"This cannot be a name: {exc}.") from exc


def rows_with_files(
    table: Table, column: str, folder: Path, outside: bool
) -> tuple[list[Row], list[RejectedFile]]:
    """Return the rows whose photo exists below a folder, and entries for all other rows."""
    inside, unusable = rows_below(table, (column,), folder, outside)
    there = [is_file(folder / row[column]) for row in inside]
    unusable += [
        table.bad_row(row.number, f"There is no file {folder / row[column]}.")
        for row, is_there in zip(inside, there, strict=True)
        if not is_there
    ]
    return [row for row, is_there in zip(inside, there, strict=True) if is_there], unusable


def rows_below(
    table: Table, columns: Sequence[str], folder: Path, outside: bool
) -> tuple[list[Row], list[RejectedFile]]:
    """Make these columns paths below a folder; return the rows, and entries for those outside."""
    rows, unusable = [], list(table.unusable)
    for row in table.rows:
        try:
            paths = {name: path_below(row[name], folder, outside) for name in columns}
        except LikenessError as error:
            unusable.append(table.bad_row(row.number, error.sentence))
            continue
        rows.append(Row(row.number, row.cells | paths))
    return rows, unusable


def describe_no_rows(table: Table, unusable: list[RejectedFile]) -> str:
    """Say that no row of a list can be used, and what is wrong with the first one."""
    if not unusable:
        return f"{table.path} has no rows after the first, which names the columns."
    first = unusable[0]
    return f"{table.path}: no row can be used. {first.path}: {first.sentence}"
