"""The engine of embed-folder that computes on the machines of a Ray cluster."""

import asyncio
import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from models.bundle import BUILTIN_NAMES
from models.datasets.vectors import VectorOrigin
from models.errors import LikenessError
from models.photo import Policy
from service.bulk.files import Row
from service.bulk.local import LocalEngine, about, batch_size, open_local
from service.pipeline.loading import load_bundle_of
from service.settings import Settings

# Three cores decode while one encodes; more of them in one process wait for its lock.
CORES_A_WORKER = 4
REACH_S = 5.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Say which cluster computes, and what of it.

    Without an `address` one is started on this machine. A worker is a process with `cores` and
    `gpus`; by default there are as many as find room.
    """

    address: str | None = None
    workers: int | None = None
    cores: int | None = None
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """Hold how many workers there are to be, of how many cores each."""

    workers: int
    cores: int


@contextmanager
def cluster_connection(address: str | None) -> Iterator[None]:
    """Be connected to a cluster; one started here ends with it. Raises LikenessError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address is None:
        # Ray's word for a cluster of one machine: it listens on the loopback only, ...
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # ... and to nobody else here: it runs whatever code it is sent.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray
    from ray.exceptions import RayError

    try:
        if address is not None and address != "auto":
            _reach(address)
        ray.init(
            address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError, RayError) as exc:
        where = f"at {address}" if address else "on this machine"
        reason = str(exc).strip().partition("\n")[0]
        raise LikenessError(f"No Ray cluster can be used {where}: {reason}") from exc
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError at once where nobody listens; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        raise ValueError("An address is `auto`, or host:port of the head, seen from its network.")
    socket.create_connection((host, int(port)), REACH_S).close()


def plan_workers(cluster: Cluster) -> WorkerPlan:
    """Return the workers that fit into the cluster that is connected; raises LikenessError."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    offers = [(int(machine.get("CPU", 0)), machine.get("GPU", 0.0)) for machine in machines]
    # A machine that only leads the others offers no cores.
    offers = [(cores, gpus) for cores, gpus in offers if cores and gpus >= cluster.gpus]
    cores = cluster.cores or min([CORES_A_WORKER, *(offered for offered, _ in offers)])
    workers = cluster.workers or sum(
        min(offered // cores, int(gpus / cluster.gpus)) if cluster.gpus else offered // cores
        for offered, gpus in offers
    )
    if not workers:
        raise LikenessError(
            f"No machine of the cluster has {cores} cores and {cluster.gpus:g} GPUs for a worker."
        )
    return WorkerPlan(workers, cores)


# While the encoder has photos of one block, those of the next are decoded.
BLOCKS_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Say what a worker is to do: with `cores` of its machine, on photos below `root`."""

    settings: Settings
    cores: int
    root: Path
    policy: Policy


class Block(TypedDict):
    """Name the photos of one task."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class BlockResult:
    """Hold what became of a block: a row a photo, and the bundle that computed them."""

    rows: list[Row]
    fingerprint: str


class BlockOutcome(TypedDict):
    """Hold what became of a block, or why the run cannot go on."""

    outcome: BlockResult | LikenessError


class Worker:
    """Load the bundle once and embed block after block, called from several threads."""

    def __init__(self, work: WorkerSettings) -> None:
        self._work = work
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="worker", daemon=True).start()
        # Never closed: it ends with this process, and that when Ray has no more work for it.
        self._context = open_local(work.settings, work.cores, BLOCKS_AT_A_TIME)
        self._engine = asyncio.run_coroutine_threadsafe(self._open(), self._loop)

    def __call__(self, block: Block) -> BlockOutcome:
        embedding = self._embed([str(name) for name in block["names"]])
        try:
            done = asyncio.run_coroutine_threadsafe(embedding, self._loop).result()
        except LikenessError as error:
            return {"outcome": error}
        return {"outcome": done}

    async def _open(self) -> LocalEngine:
        return await self._context.__aenter__()

    async def _embed(self, names: Sequence[str]) -> BlockResult:
        engine = await asyncio.wrap_future(self._engine)
        rows = [row async for row in engine.embed(self._work.root, names, self._work.policy)]
        return BlockResult(rows, engine.about.fingerprint)


# Enough work that handing it over costs little: a second's or two.
BATCHES_A_BLOCK = 4


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Hand blocks of names to workers, who find the photos at the same path as this process."""

    settings: Settings
    about: VectorOrigin
    plan: WorkerPlan
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

    def _run(self, blocks: Sequence[Block], root: Path, policy: Policy) -> Iterator[BlockResult]:
        """Yield what became of the blocks as soon as they are done."""
        from ray.data import ActorPoolStrategy, DataContext, from_items
        from ray.exceptions import RayError

        # What is left to say is in our own progress bar and our own errors.
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        DataContext.get_current().enable_progress_bars = False
        workers = ActorPoolStrategy(
            size=self.plan.workers,
            max_concurrent_calls_per_actor=BLOCKS_AT_A_TIME,
            enable_true_multi_threading=True,
        )
        work = WorkerSettings(self.settings, self.plan.cores, root.absolute(), policy)
        outcomes = from_items(blocks, override_num_blocks=len(blocks)).map(
            Worker,
            fn_constructor_args=(work,),
            compute=workers,
            num_cpus=self.plan.cores,
            num_gpus=self.gpus,
        )
        try:
            for row in outcomes.iter_rows():
                yield checked_result(row["outcome"], self.about.fingerprint)
        except RayError as exc:
            raise LikenessError(f"The cluster gave up: {_last_line(exc)}") from exc


def checked_result(outcome: BlockResult | LikenessError, fingerprint: str) -> BlockResult:
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
    with cluster_connection(cluster.address):
        yield RayEngine(
            _anywhere(settings, cluster.gpus), about(bundle), plan_workers(cluster), cluster.gpus
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
