"""The engine of embed-folder that computes in this process."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from models.bundle import Bundle
from models.datasets.vectors import About, RejectedFile, VectorRow
from models.photo.face import Policy
from service.bulk.files import Row
from service.bulk.plan import Bulk, Taken, open_bulk
from service.pipeline.pipeline import Probe
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Take photos through the service's own pipeline."""

    bulk: Bulk

    @property
    def about(self) -> About:
        return about(self.bulk.embedder.bundle)

    async def embed(self, root: Path, names: Sequence[str], policy: Policy) -> AsyncGenerator[Row]:
        files = [root / name for name in names]
        async with aclosing(self.bulk.take(files, policy)) as taken:
            async for one in taken:
                yield as_row(one, root)


@asynccontextmanager
async def open_local(
    settings: Settings, cores: int | None = None, callers: int = 1
) -> AsyncIterator[LocalEngine]:
    """Load the bundle and start the threads, for so many cores and callers at a time."""
    async with open_bulk(settings, cores, callers) as bulk:
        yield LocalEngine(bulk)


def about(bundle: Bundle) -> About:
    """Return what is written beside vectors that a bundle made."""
    return About(bundle.manifest.name, bundle.fingerprint, bundle.dimension)


def as_row(taken: Taken, root: Path) -> Row:
    """Return what is to be kept of a file."""
    name = taken.file.relative_to(root).as_posix()
    outcome = taken.outcome
    if isinstance(outcome, Probe):
        face = outcome.report
        return VectorRow(name, taken.sha256, outcome.row.vector, face.box, face.score)
    return RejectedFile(name, outcome.code, outcome.sentence)
