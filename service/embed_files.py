"""Embed the photos of a folder into part files, going on where an earlier run was stopped."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from models.crops import photos_in
from models.face import Policy
from models.rejected import UNREADABLE, RejectedFile
from models.vector_parts import About, Format, VectorFolder, VectorRow, only_writer
from service.bulk import Bulk, Taken, open_bulk
from service.pipeline import Probe
from service.settings import Settings
from service.terminal import photo_progress


async def embed_files(
    settings: Settings,
    photos: Path,
    out: Path,
    format_: Format,
    policy: Policy,
    photos_a_part: int,
    retry_rejected: bool,
) -> VectorFolder:
    """Embed what has no vector yet; raises LikenessError."""
    with only_writer(out):
        async with open_bulk(settings) as bulk:
            bundle = bulk.embedder.bundle
            about = About(bundle.manifest.name, bundle.fingerprint, bundle.dimension)
            vectors = VectorFolder(out, about, format_)
            files = {file.relative_to(photos).as_posix(): file for file in photos_in(photos)}
            known = vectors.done()
            if not retry_rejected:
                known |= {row.path for row in vectors.rejected}
            left = [file for name, file in files.items() if name not in known]
            with photo_progress("embedding", len(files) - len(left), len(files)) as advance:
                async for part in _parts(bulk, left, photos, policy, photos_a_part, advance):
                    await asyncio.to_thread(vectors.add, part)
            return vectors


async def _parts(
    bulk: Bulk,
    files: Sequence[Path],
    photos: Path,
    policy: Policy,
    size: int,
    advance: Callable[[], None],
) -> AsyncIterator[list[VectorRow | RejectedFile]]:
    """Yield what became of the files, so many at a time."""
    part: list[VectorRow | RejectedFile] = []
    async for taken in bulk.take(files, policy):
        part.append(as_row(taken, photos))
        advance()
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def as_row(taken: Taken, photos: Path) -> VectorRow | RejectedFile:
    """Return what is to be kept of a file."""
    name = taken.file.relative_to(photos).as_posix()
    outcome = taken.outcome
    if not is_text(name):
        return RejectedFile(name, UNREADABLE, "The name of the file is not UTF-8.")
    if isinstance(outcome, Probe):
        face = outcome.report
        return VectorRow(name, taken.sha256, outcome.row.vector, face.box, face.score)
    return RejectedFile(name, outcome.code, outcome.sentence)


def is_text(name: str) -> bool:
    """Tell whether a file's name can be written into a table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
