"""`likeness embed-folder`: vectors of all photos of a folder, into part files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.terminal import finish, out, print_rejected, require, settings_from


class Format(StrEnum):
    """Name a format of the parts."""

    PARQUET = "parquet"
    NPZ = "npz"


class Faces(StrEnum):
    """Name what to do about several faces."""

    SINGLE = "single"
    LARGEST = "largest"


def embed_folder(
    photos: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Photos.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the vectors.")] = Path(
        "vectors"
    ),
    format_: Annotated[Format, typer.Option("--format", help="Of the parts.")] = Format.PARQUET,
    bundle: Annotated[
        str | None, typer.Option(help="Built-in name, directory or hub id; else as served.")
    ] = None,
    faces: Annotated[
        Faces, typer.Option(help="Refuse a photo of several faces, or take the largest.")
    ] = Faces.LARGEST,
    part: Annotated[
        int, typer.Option(min=1, help="Photos a part; a stopped run loses at most so many.")
    ] = 256,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try again what was rejected before.")
    ] = False,
) -> None:
    """Embed all photos below a folder, into part files that say which bundle made them.

    The same command again goes on where a stopped run was: what has a vector or was rejected
    is not taken again. A photo that has changed since under its name keeps its old vector;
    name another folder for new ones.
    """
    if format_ is Format.PARQUET:
        require("pyarrow")
    from service.embed_files import embed_files

    settings = settings_from(bundle=bundle, store="sqlite:///:memory:")
    made = finish(
        embed_files(settings, photos, out_folder, format_.value, faces.value, part, retry_rejected)
    )
    out.print(f"{len(made.done()):,} vectors in {out_folder}", soft_wrap=True)
    print_rejected(made.rejected, made.rejected_path)
