"""`likeness embed-folder`: write the vectors of all photos of a folder into part files."""

from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.terminal import (
    BundleName,
    check_folder,
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

if TYPE_CHECKING:
    from service.bulk.files import Engine
    from service.bulk.ray import Cluster
    from service.settings import Settings


class PartFormat(StrEnum):
    """Name the format of the part files."""

    PARQUET = "parquet"
    NPZ = "npz"


class FaceChoice(StrEnum):
    """Name what to do with a photo of several faces."""

    SINGLE = "single"
    LARGEST = "largest"


class EngineChoice(StrEnum):
    """Name where the vectors are computed."""

    LOCAL = "local"
    RAY = "ray"


def embed_folder(
    photos: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of photos.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the vectors.")] = Path(
        "vectors"
    ),
    format_: Annotated[
        PartFormat, typer.Option("--format", help="Format of the part files.")
    ] = PartFormat.PARQUET,
    bundle: BundleName = None,
    faces: Annotated[
        FaceChoice,
        typer.Option(help="Refuse a photo with several faces, or use the largest face."),
    ] = FaceChoice.LARGEST,
    part: Annotated[
        int,
        typer.Option(
            min=1, help="Photos in a part file; a run that is stopped loses at most one part."
        ),
    ] = 256,
    retry_rejected: Annotated[
        bool,
        typer.Option("--retry-rejected", help="Try the photos again that an earlier run rejected."),
    ] = False,
    engine: Annotated[
        EngineChoice, typer.Option(help="Compute in this process, or on a Ray cluster.")
    ] = EngineChoice.LOCAL,
    address: Annotated[
        str | None,
        typer.Option(help="Address of the cluster's head, or auto. Default: start Ray here."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes on the cluster. Default: as many as fit."),
    ] = None,
    worker_cores: Annotated[
        int | None,
        typer.Option(min=1, help="Cores per worker. Default: 4, or all if there are fewer."),
    ] = None,
    worker_gpus: Annotated[
        float, typer.Option(min=0, help="GPUs per worker; with 0.5, two workers share one.")
    ] = 0.0,
) -> None:
    """Embed all photos below a folder, and write the vectors into part files.

    If the command is stopped, run it again: it continues, and leaves out photos that have a
    vector or were rejected. A photo that was changed under the same name keeps its old vector;
    name another folder to embed it again. Photos that cannot be used are listed, and the exit
    status is then 1.

    With `--engine ray`, the workers read the photos at the same path as here, so keep the photos
    on storage that all machines share. Only this process writes files.
    """
    if format_ is PartFormat.PARQUET:
        require("pyarrow")
    check_folder(out_folder)
    settings = settings_from(bundle=bundle, store="sqlite:///:memory:")
    from service.bulk.files import embed_files
    from service.bulk.ray import Cluster

    cluster = Cluster(address, workers, worker_cores, worker_gpus)
    vectors, contents = finish(
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
    total, new = len(vectors.embedded_paths()), vectors.added
    show(f"{total:,} vectors in {out_folder}: {new:,} new, {total - new:,} already there")
    print_left_out(contents.unusable, contents.notes())
    print_rejected(vectors.rejected, vectors.rejected_path)
    exit_status([*contents.unusable, *vectors.rejected])


def open_engine(
    engine: EngineChoice, settings: "Settings", cluster: "Cluster"
) -> "AbstractAsyncContextManager[Engine]":
    """Return the engine, or exit with an error if it cannot be used."""
    from service.bulk.local import open_local
    from service.bulk.ray import Cluster, open_ray

    if engine is EngineChoice.RAY:
        require("ray", extra="ray")
        return open_ray(settings, cluster)
    if cluster != Cluster():
        fail("--address, --workers, --worker-cores and --worker-gpus need --engine ray.")
    return open_local(settings)
