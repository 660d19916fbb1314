"""Who is a person: the folders of a folder, or the identities of a list."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from models.datasets.folders import contents_of, describe_no_photos, is_file, is_text
from models.datasets.names import as_name
from models.datasets.tables import Row, Table, read_table
from models.datasets.vectors import UNREADABLE, RejectedFile
from models.errors import LikenessError

BAD_NAME = "invalid_name"


@dataclass(frozen=True, slots=True)
class PeopleList:
    """Hold photos `(path below folder, identity)` and, of what else was there, why it is not.

    `unusable` failed, `notes` say in a line each what was passed over on purpose.
    """

    folder: Path
    photos: list[tuple[str, str]]
    unusable: list[RejectedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def list_people(source: Path, outside: bool = False) -> PeopleList:
    """List who is on which photo: by a folder per person, or by a CSV `path,identity`.

    All photos below a person's folder are of that person. Paths in the CSV start at its own
    folder, and lead out of it only if `outside` allows it. Raises LikenessError if there is
    nobody.
    """
    return _of_folder(source) if source.is_dir() else _of_table(source, outside)


def path_below(name: str, folder: Path, outside: bool) -> str:
    """Return the path, below a folder, that a list names; raises LikenessError if it leads out.

    Lists from Windows have backslashes.
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
    unusable += [RejectedFile(name, BAD_NAME, unnamed[name]) for name in sorted(unnamed)]
    if not photos:
        found = _nobody(source, flat, bool(unnamed)) or describe_no_photos(contents)
        example = source / "ada" / "1.jpg"
        raise LikenessError(
            f"{found} Expected is a folder of photos for each person, such as {example}, or a CSV "
            "path,identity."
        )
    return PeopleList(source, photos, unusable, contents.notes())


_NO_PERSON = "The photo lies in no person's folder."


def _nobody(source: Path, flat: int, unnamed: bool) -> str:
    if flat:
        return f"{source} holds photos ({flat:,}) and no folders with photos."
    return f"{source} holds no folder whose name can be a person's." if unnamed else ""


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
    """Return the one form of a person's name; raises LikenessError."""
    if not is_text(name):
        raise LikenessError("The name is not UTF-8, so it names nobody.")
    try:
        return as_name(name)
    except ValueError as exc:
        raise LikenessError(f"This is no name: {exc}.") from exc


def rows_with_files(
    table: Table, column: str, folder: Path, outside: bool
) -> tuple[list[Row], list[RejectedFile]]:
    """Return the rows of a list whose photo is there below a folder, and all others."""
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
    """Return the rows with these columns as paths below a folder, and those that lead out."""
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
    """Say that no row of a list can be used, and why the first one cannot."""
    if not unusable:
        return f"{table.path} has no rows below its first, which names the columns."
    first = unusable[0]
    return f"{table.path}: none of its rows can be used. {first.path}: {first.sentence}"
