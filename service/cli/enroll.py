"""`likeness enroll` and `enroll-folder`: enrol photos, in the store or at a service."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from models.datasets.people import identity_of
from models.datasets.tables import RejectedFile, write_rejected
from service.cli.local import connect
from service.cli.terminal import (
    SHOWN,
    Json,
    Outside,
    Url,
    check_file,
    err,
    exit_status,
    finish,
    photo_progress,
    print_rejected,
    settings_from,
    show,
    show_json,
)
from service.client.folders import EnrolledPhoto, people_in
from service.client.requests import EnrolOptions
from service.schemas.recognition import EnrolledImage

AcceptQuality = Annotated[
    bool, typer.Option("--accept-quality", help="Also enrol photos of poor quality.")
]
AcceptInconsistent = Annotated[
    bool,
    typer.Option(
        "--accept-inconsistent", help="Also enrol photos that do not match the subject's others."
    ),
]


@dataclass(slots=True)
class FolderResult:
    """Count the photos of a folder by result; `warnings` are lines about enrolled photos."""

    folder: Path
    enrolled: int = 0
    already_enrolled: int = 0
    rejected: list[RejectedFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, photo: EnrolledPhoto) -> None:
        """Add the result of one photo."""
        inside = photo.path.is_relative_to(self.folder)
        name = (photo.path.relative_to(self.folder) if inside else photo.path).as_posix()
        if photo.image.problem is not None:
            problem = photo.image.problem
            self.rejected.append(RejectedFile(name, problem.code, problem.detail))
        elif photo.image.status == "already_enrolled":
            self.already_enrolled += 1
        else:
            self.enrolled += 1
            self.warnings += [f"{name}  {line}" for line in warning_lines(photo.image)]


def warning_lines(image: EnrolledImage) -> list[str]:
    """Return a line for each warning about a photo, and for each subject that it looks like."""
    near = (f"like {each.subject}, {each.similarity:.3f}" for each in image.possible_duplicates)
    return [*(f"{warning.code}: {warning.detail}" for warning in image.warnings), *near]


def enroll(
    subject: Annotated[str, typer.Argument(help="Name of the subject.")],
    files: Annotated[list[Path], typer.Argument(help="Photos of the subject.")],
    url: Url = None,
    as_json: Json = False,
    accept_quality: AcceptQuality = False,
    accept_inconsistent: AcceptInconsistent = False,
) -> None:
    """Enrol photos of one subject, in the store of the settings or at a service.

    The exit status is 1 if a photo could not be enrolled.
    """
    options = EnrolOptions(accept_quality=accept_quality, accept_inconsistent=accept_inconsistent)
    subject = identity_of(subject)

    async def send() -> list[EnrolledImage]:
        images: list[EnrolledImage] = []
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task("enrolling", total=len(files))
            async with connect(url, settings_from()) as likeness:
                for at, file in enumerate(files):
                    image = await likeness.enroll_photo(subject, file, **options)
                    images.append(image.model_copy(update={"image": at}))
                    progress.advance(task)
        return images

    images = finish(send())
    if as_json:
        show_json(json.dumps([image.model_dump(mode="json") for image in images]))
    else:
        for file, image in zip(files, images, strict=True):
            reason = (
                "" if image.problem is None else f"  {image.problem.code}: {image.problem.detail}"
            )
            show(f"{image.status.replace('_', ' '):17}{file}{reason}")
            for line in warning_lines(image):
                show(f"{'':17}{line}")
    exit_status([image for image in images if image.status == "failed"])


def enroll_folder(
    photos: Annotated[
        Path,
        typer.Argument(exists=True, help="One folder per subject, or a CSV path,identity."),
    ],
    url: Url = None,
    rejected: Annotated[
        Path, typer.Option(help="CSV for the photos that could not be enrolled.")
    ] = Path("rejected.csv"),
    at_once: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 16,
    accept_quality: AcceptQuality = False,
    accept_inconsistent: AcceptInconsistent = False,
    outside: Outside = False,
) -> None:
    """Enrol the photos of many subjects, in the store of the settings or at a service.

    If the command is stopped, run it again: it continues. A photo is not sent again if its
    subject already has a template of the same file from the bundle that is served. Photos, links
    and rows of the CSV that cannot be used are left out and listed, and the exit status is
    then 1.
    """
    options = EnrolOptions(accept_quality=accept_quality, accept_inconsistent=accept_inconsistent)
    check_file(rejected)
    result = FolderResult(photos if photos.is_dir() else photos.parent)

    async def send() -> None:
        people = await asyncio.to_thread(people_in, photos, outside)
        for failed in people.failed:
            result.count(failed)
        result.notes = people.notes
        async with connect(url, settings_from(max_inflight=max(64, at_once))) as likeness:
            enrolled = likeness.enroll_many(people.photos, at_once=at_once, **options)
            with photo_progress("enrolling", 0, len(people.photos)) as advance:
                async with aclosing(enrolled) as done:
                    async for photo in done:
                        result.count(photo)
                        advance()

    finish(send())
    write_rejected(rejected, result.rejected)
    show(
        f"{result.enrolled:,} enrolled, {result.already_enrolled:,} enrolled already, "
        f"{len(result.rejected):,} not used"
    )
    for note in result.notes:
        show(note, to=err)
    print_rejected(result.rejected, rejected)
    for line in result.warnings[:SHOWN]:
        show(f"warning   {line}", to=err)
    if len(result.warnings) > SHOWN:
        show(f"{len(result.warnings):,} lines of warnings", to=err)
    exit_status(result.rejected)
