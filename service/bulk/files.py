"""Embed the photos of a folder into part files, and resume where an earlier run stopped."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from pathlib import Path
from typing import Protocol

from models.datasets.folders import FolderContents, contents_of, is_text, require_photos
from models.datasets.tables import UNREADABLE, RejectedFile
from models.datasets.vectors import Format, VectorFolder, VectorOrigin, VectorRow, exclusive_writer
from models.photo import FacePolicy

Row = VectorRow | RejectedFile

# Shows a label, the photos done and their total; yields a function that counts one more photo.
Progress = Callable[[str, int, int], AbstractContextManager[Callable[[], None]]]


class Engine(Protocol):
    """Turn photos into rows, in this process or on other machines."""

    @property
    def origin(self) -> VectorOrigin: ...

    def embed(self, root: Path, names: Sequence[str], policy: FacePolicy) -> AsyncGenerator[Row]:
        """Yield a row for each of the photos `names` below `root`, in any order.

        An unusable photo is a row too. Raises LikenessError for errors that no photo caused.
        """
        ...


async def embed_files(
    engine: AbstractAsyncContextManager[Engine],
    photos: Path,
    out: Path,
    format_: Format,
    policy: FacePolicy,
    photos_a_part: int,
    retry_rejected: bool,
    progress: Progress,
) -> tuple[VectorFolder, FolderContents]:
    """Embed all photos that have no vector yet; return the vectors and the folder's contents.

    Only this process writes, so that every engine can resume the work of another. Raises
    LikenessError.
    """
    contents = require_photos(await asyncio.to_thread(contents_of, photos))
    with exclusive_writer(out):
        async with engine as opened:
            vectors = VectorFolder(out, opened.origin, format_)
            names = [file.relative_to(photos).as_posix() for file in contents.photos]
            known = vectors.embedded_paths()
            if not retry_rejected:
                known |= {row.path for row in vectors.rejected}
            left = [name for name in names if name not in known]
            with progress("embedding", len(names) - len(left), len(names)) as advance:
                async with aclosing(_rows(opened, left, photos, policy)) as rows:
                    async for part in _parts(rows, photos_a_part, advance):
                        await asyncio.to_thread(vectors.add, part)
            return vectors, contents


async def _rows(
    engine: Engine, names: Sequence[str], photos: Path, policy: FacePolicy
) -> AsyncGenerator[Row]:
    """Yield a row for each file; a file whose name is not UTF-8 is rejected unread."""
    for name in names:
        if not is_text(name):
            yield RejectedFile(name, UNREADABLE, "The name of the file is not UTF-8.")
    texts = [name for name in names if is_text(name)]
    async with aclosing(engine.embed(photos, texts, policy)) as rows:
        async for row in rows:
            yield row


async def _parts(
    rows: AsyncIterator[Row], size: int, advance: Callable[[], None]
) -> AsyncIterator[list[Row]]:
    """Yield the rows in lists of `size`; the last may be shorter."""
    part: list[Row] = []
    async for row in rows:
        part.append(row)
        advance()
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
