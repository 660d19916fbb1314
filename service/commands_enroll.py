"""`likeness enroll` and `likeness enroll-folder`: photos into a store, here or at a service."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from models.protocols import list_people
from models.rejected import write_rejected
from service.answers import EnrolledImage
from service.enrolment import Enrolment, Outcome, enroll_one
from service.local import connect
from service.terminal import (
    EXIT_ERROR,
    File,
    Json,
    Url,
    err,
    finish,
    out,
    photo_progress,
    print_rejected,
    settings_from,
)


def enroll(subject: str, files: list[File], url: Url = None, as_json: Json = False) -> None:
    """Enrol photos of one subject, in the store of the settings or at a service."""

    async def send() -> list[EnrolledImage]:
        images: list[EnrolledImage] = []
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task("enrolling", total=len(files))
            async with connect(url, settings_from()) as client:
                for file in files:
                    images += await enroll_one(client, subject, file.read_bytes(), len(images))
                    progress.advance(task)
        return images

    images = finish(send())
    if as_json:
        out.print_json(data=[image.model_dump(mode="json") for image in images])
    else:
        for file, image in zip(files, images, strict=True):
            reason = "" if image.problem is None else f"  {image.problem.detail}"
            out.print(f"{image.status.replace('_', ' '):17}{file}{reason}", soft_wrap=True)
    if any(image.status == "failed" for image in images):
        raise typer.Exit(EXIT_ERROR)


def enroll_folder(
    photos: Annotated[
        Path,
        typer.Argument(exists=True, help="A folder per subject, or a CSV path,identity."),
    ],
    url: Url = None,
    rejected: Annotated[
        Path, typer.Option(help="CSV for the photos that could not be enrolled.")
    ] = Path("rejected.csv"),
    at_once: Annotated[int, typer.Option(min=1, help="Requests under way at a time.")] = 16,
) -> None:
    """Enrol a folder per subject, in the store of the settings or at a service.

    The same command again goes on where a stopped run was: a photo that its subject holds
    already, by its bytes and for the bundle that is served, is not sent again.
    """

    async def send() -> Outcome:
        folder, listed = list_people(photos)
        async with connect(url, settings_from(max_inflight=max(64, at_once))) as client:
            with photo_progress("enrolling", 0, len(listed)) as advance:
                return await Enrolment(client, at_once).run(folder, listed, advance)

    outcome = finish(send())
    write_rejected(rejected, outcome.rejected)
    out.print(
        f"{outcome.enrolled:,} enrolled, {outcome.held:,} held already, "
        f"{len(outcome.rejected):,} not used"
    )
    print_rejected(outcome.rejected, rejected)
