"""The engine of embed-folder that computes on the machines of a Ray cluster."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from models.bundle import BUILTIN_NAMES
from models.datasets.vectors import About
from models.errors import LikenessError
from models.photo.face import Policy
from service.bulk.files import Row
from service.bulk.local import about
from service.bulk.plan import batch_size
from service.bulk.ray_cluster import Cluster, Room, connected, room
from service.bulk.ray_worker import BLOCKS_AT_A_TIME, Block, Done, Work, Worker
from service.recognition.recogniser import load_bundle_of
from service.settings import Settings

# Enough work that handing it over costs little: a second's or two.
BATCHES_A_BLOCK = 4


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Hand blocks of names to workers, who find the photos at the same path as this process."""

    settings: Settings
    about: About
    room: Room
    gpus: float

    async def embed(self, root: Path, names: Sequence[str], policy: Policy) -> AsyncGenerator[Row]:
        size = BATCHES_A_BLOCK * batch_size(self.settings, self.gpus > 0)
        blocks: list[Block] = [
            {"names": list(names[start : start + size])} for start in range(0, len(names), size)
        ]
        if not blocks:
            return
        done = self._run(blocks, root, policy)
        # In a thread, so that whoever interrupts need not wait for the next block.
        while block := await asyncio.to_thread(next, done, None):
            for row in block.rows:
                yield row

    def _run(self, blocks: Sequence[Block], root: Path, policy: Policy) -> Iterator[Done]:
        """Yield what became of the blocks as soon as they are done."""
        from ray.data import ActorPoolStrategy, DataContext, from_items
        from ray.exceptions import RayError

        # What is left to say is in our own progress bar and our own errors.
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        DataContext.get_current().enable_progress_bars = False
        workers = ActorPoolStrategy(
            size=self.room.workers,
            max_concurrent_calls_per_actor=BLOCKS_AT_A_TIME,
            enable_true_multi_threading=True,
        )
        work = Work(self.settings, self.room.cores, root.absolute(), policy)
        outcomes = from_items(blocks, override_num_blocks=len(blocks)).map(
            Worker,
            fn_constructor_args=(work,),
            compute=workers,
            num_cpus=self.room.cores,
            num_gpus=self.gpus,
        )
        try:
            for row in outcomes.iter_rows():
                yield checked(row["outcome"], self.about.fingerprint)
        except RayError as exc:
            raise LikenessError(f"The cluster gave up: {_last_line(exc)}") from exc


def checked(outcome: Done | LikenessError, fingerprint: str) -> Done:
    """Return what a worker has done; raises LikenessError if it could not, or not as we would."""
    if isinstance(outcome, LikenessError):
        raise outcome
    if outcome.fingerprint != fingerprint:
        raise LikenessError(
            f"A worker has another bundle ({outcome.fingerprint[:12]}) than this machine "
            f"({fingerprint[:12]}): give all of them the same release and the same files."
        )
    return outcome


@asynccontextmanager
async def open_ray(settings: Settings, cluster: Cluster) -> AsyncIterator[RayEngine]:
    """Connect to the cluster; raises LikenessError."""
    bundle = await asyncio.to_thread(load_bundle_of, settings)
    with connected(cluster.address):
        yield RayEngine(
            _anywhere(settings, cluster.gpus), about(bundle), room(cluster), cluster.gpus
        )


def _anywhere(settings: Settings, gpus: float) -> Settings:
    """Return settings that mean the same on another machine, in another working folder."""
    changes: dict[str, object] = {}
    bundle = settings.bundle
    if bundle is not None and bundle not in BUILTIN_NAMES and Path(bundle).is_dir():
        changes["bundle"] = str(Path(bundle).absolute())
    for name in ("yunet_path", "weights"):
        if (path := getattr(settings, name)) is not None:
            changes[name] = path.absolute()
    if settings.device == "auto":
        # A worker that was given no GPU may see those of its machine all the same.
        changes["device"] = "cuda" if gpus else "cpu"
    return settings.model_copy(update=changes)


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
