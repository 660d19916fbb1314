"""`likeness enroll` and `likeness enroll-folder`: photos into a store, here or at a service."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from models.datasets.people import identity_of
from models.datasets.vectors import RejectedFile, write_rejected
from service.cli.local import connect
from service.cli.places import check_file
from service.cli.terminal import (
    SHOWN,
    File,
    Json,
    Outside,
    Url,
    err,
    exit_status,
    finish,
    photo_progress,
    print_rejected,
    settings_from,
    show,
    show_json,
)
from service.client.calls import EnrolOptions
from service.client.folders import EnrolledPhoto, people_in
from service.schemas.recognition import EnrolledImage

AcceptQuality = Annotated[
    bool, typer.Option("--accept-quality", help="Enrol photos that are too poor, too.")
]
AcceptInconsistent = Annotated[
    bool,
    typer.Option("--accept-inconsistent", help="Enrol photos unlike their subject's others, too."),
]


@dataclass(slots=True)
class Outcome:
    """Count what became of photos below a folder; `doubts` are lines about enrolled ones."""

    folder: Path
    enrolled: int = 0
    held: int = 0
    rejected: list[RejectedFile] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, photo: EnrolledPhoto) -> None:
        """Add one photo."""
        inside = photo.path.is_relative_to(self.folder)
        name = (photo.path.relative_to(self.folder) if inside else photo.path).as_posix()
        if photo.image.problem is not None:
            problem = photo.image.problem
            self.rejected.append(RejectedFile(name, problem.code, problem.detail))
        elif photo.image.status == "already_enrolled":
            self.held += 1
        else:
            self.enrolled += 1
            self.doubts += [f"{name}  {line}" for line in doubts(photo.image)]


def doubts(image: EnrolledImage) -> list[str]:
    """Return a line for every warning about a photo, and for everybody it resembles."""
    near = (f"like {one.subject}, {one.similarity:.3f}" for one in image.possible_duplicates)
    return [*(f"{warning.code}: {warning.detail}" for warning in image.warnings), *near]


def enroll(
    subject: str,
    files: list[File],
    url: Url = None,
    as_json: Json = False,
    accept_quality: AcceptQuality = False,
    accept_inconsistent: AcceptInconsistent = False,
) -> None:
    """Enrol photos of one subject, in the store of the settings or at a service.

    The exit status is 1 if one of the photos could not be enrolled.
    """
    accepted = EnrolOptions(accept_quality=accept_quality, accept_inconsistent=accept_inconsistent)
    subject = identity_of(subject)

    async def send() -> list[EnrolledImage]:
        images: list[EnrolledImage] = []
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task("enrolling", total=len(files))
            async with connect(url, settings_from()) as likeness:
                for at, file in enumerate(files):
                    image = await likeness.enroll_photo(subject, file, **accepted)
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
            for line in doubts(image):
                show(f"{'':17}{line}")
    exit_status([image for image in images if image.status == "failed"])


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
    accept_quality: AcceptQuality = False,
    accept_inconsistent: AcceptInconsistent = False,
    outside: Outside = False,
) -> None:
    """Enrol a folder per subject, in the store of the settings or at a service.

    The same command again goes on where a stopped run was: a photo that its subject holds
    already, by its bytes and for the bundle that is served, is not sent again. A photo, a link
    or a row of the CSV that cannot be used harms no other; it is listed, and the exit status is
    1 for that reason.
    """

    accepted = EnrolOptions(accept_quality=accept_quality, accept_inconsistent=accept_inconsistent)
    check_file(rejected)
    outcome = Outcome(photos if photos.is_dir() else photos.parent)

    async def send() -> None:
        listed = await asyncio.to_thread(people_in, photos, outside)
        for failed in listed.failed:
            outcome.count(failed)
        outcome.notes = listed.notes
        async with connect(url, settings_from(max_inflight=max(64, at_once))) as likeness:
            enrolled = likeness.enroll_many(listed.photos, at_once=at_once, **accepted)
            with photo_progress("enrolling", 0, len(listed.photos)) as advance:
                async with aclosing(enrolled) as done:
                    async for photo in done:
                        outcome.count(photo)
                        advance()

    finish(send())
    write_rejected(rejected, outcome.rejected)
    show(
        f"{outcome.enrolled:,} enrolled, {outcome.held:,} held already, "
        f"{len(outcome.rejected):,} not used"
    )
    for note in outcome.notes:
        show(note, to=err)
    print_rejected(outcome.rejected, rejected)
    for line in outcome.doubts[:SHOWN]:
        show(f"warning   {line}", to=err)
    if len(outcome.doubts) > SHOWN:
        show(f"{len(outcome.doubts):,} lines of warnings", to=err)
    exit_status(outcome.rejected)
