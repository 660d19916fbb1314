"""`likeness embed-folder`: vectors of all photos of a folder, into part files."""

from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.bulk.files import Engine, embed_files
from service.bulk.local import open_local
from service.bulk.ray import Cluster, open_ray
from service.cli.places import check_folder
from service.cli.terminal import (
    exit_status,
    fail,
    finish,
    photo_progress,
    print_left_out,
    print_rejected,
    require,
    settings_from,
    show,
)
from service.settings import Settings


class Format(StrEnum):
    """Name a format of the parts."""

    PARQUET = "parquet"
    NPZ = "npz"


class Faces(StrEnum):
    """Name what to do about several faces."""

    SINGLE = "single"
    LARGEST = "largest"


class Where(StrEnum):
    """Name what computes."""

    LOCAL = "local"
    RAY = "ray"


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
    engine: Annotated[
        Where, typer.Option(help="Compute in this process, or on a Ray cluster.")
    ] = Where.LOCAL,
    address: Annotated[
        str | None, typer.Option(help="Of the cluster's head, or auto; else Ray starts here.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on the cluster; else all that fit.")
    ] = None,
    worker_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores a worker; else 4, or what there are.")
    ] = None,
    worker_gpus: Annotated[
        float, typer.Option(min=0, help="GPUs a worker; 0.5 shares one between two.")
    ] = 0.0,
) -> None:
    """Embed all photos below a folder, into part files that say which bundle made them.

    The same command again goes on where a stopped run was: what has a vector or was rejected
    is not taken again. A photo that has changed since under its name keeps its old vector;
    name another folder for new ones. What cannot be used is listed, and the exit status is 1
    for that reason.

    With `--engine ray` the workers read the photos, at the same path as here: keep them on
    storage that all machines share. Vectors come back, and only this process writes.
    """
    if format_ is Format.PARQUET:
        require("pyarrow")
    check_folder(out_folder)
    cluster = Cluster(address, workers, worker_cores, worker_gpus)
    settings = settings_from(bundle=bundle, store="sqlite:///:memory:")
    made, contents = finish(
        embed_files(
            open_engine(engine, settings, cluster),
            photos,
            out_folder,
            format_.value,
            faces.value,
            part,
            retry_rejected,
            photo_progress,
        )
    )
    show(f"{len(made.embedded_paths()):,} vectors in {out_folder}")
    print_left_out(contents.unusable, contents.notes())
    print_rejected(made.rejected, made.rejected_path)
    exit_status([*contents.unusable, *made.rejected])


def open_engine(
    where: Where, settings: Settings, cluster: Cluster
) -> AbstractAsyncContextManager[Engine]:
    """Return what computes, or say in a line what it lacks and exit."""
    if where is Where.RAY:
        require("ray", extra="ray")
        return open_ray(settings, cluster)
    if cluster != Cluster():
        fail("--address, --workers, --worker-cores and --worker-gpus are for --engine ray.")
    return open_local(settings)
