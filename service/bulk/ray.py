"""Embed many files on the machines of a Ray cluster.

`cluster_connection` and `plan_workers` find the machines, `Worker` runs on each of them, and
`RayEngine` sends the work from this process.
"""

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
from models.photo import FacePolicy
from service.bulk.files import Row
from service.bulk.local import LocalEngine, batch_size, open_local, origin_of
from service.pipeline.loading import load_bundle_of
from service.settings import Settings

# Three cores decode while one encodes; more cores in one process would wait for Python's lock.
CORES_A_WORKER = 4
# While the encoder works on one block, the photos of the next are decoded.
BLOCKS_AT_A_TIME = 2
# One or two seconds of work, so that sending it costs little.
BATCHES_A_BLOCK = 4
REACH_S = 5.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Name the cluster to use, and the workers to start there.

    Without an `address` a cluster is started on this machine. A worker is a process with `cores`
    and `gpus`; by default there are as many workers as fit.
    """

    address: str | None = None
    workers: int | None = None
    cores: int | None = None
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """Hold the number of workers, and of cores for each worker."""

    workers: int
    cores: int


@contextmanager
def cluster_connection(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one that ends with the connection. Raises LikenessError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address is None:
        # This makes a cluster of one machine listen on the loopback only, ...
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        # ... and refuse other users of this machine: Ray runs any code that it is sent.
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
        raise LikenessError(f"There is no usable Ray cluster {where}: {reason}") from exc
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise OSError at once if no server listens there; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        raise ValueError("The address must be `auto`, or host:port of the head, as in its network.")
    socket.create_connection((host, int(port)), REACH_S).close()


def plan_workers(cluster: Cluster) -> WorkerPlan:
    """Plan the workers that fit into the connected cluster; raises LikenessError if none does."""
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    offers = [(int(machine.get("CPU", 0)), machine.get("GPU", 0.0)) for machine in machines]
    # A machine that only coordinates the others offers no cores.
    offers = [(cores, gpus) for cores, gpus in offers if cores and gpus >= cluster.gpus]
    cores = cluster.cores or min([CORES_A_WORKER, *(offered for offered, _ in offers)])
    workers = cluster.workers or sum(
        min(offered // cores, int(gpus / cluster.gpus)) if cluster.gpus else offered // cores
        for offered, gpus in offers
    )
    if not workers:
        raise LikenessError(
            f"A worker needs {cores} cores and {cluster.gpus:g} GPUs; no machine of the cluster "
            "has them."
        )
    return WorkerPlan(workers, cores)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Hold the settings of a worker: it uses `cores` of its machine, on photos below `root`."""

    settings: Settings
    cores: int
    root: Path
    policy: FacePolicy


class Block(TypedDict):
    """Name the photos of one task."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class BlockResult:
    """Hold the rows of a block, one per photo, and the fingerprint of the bundle that made them."""

    rows: list[Row]
    fingerprint: str


class BlockOutcome(TypedDict):
    """Hold the result of a block, or the error that ends the run."""

    outcome: BlockResult | LikenessError


class Worker:
    """Load the bundle once and embed block after block, called from several threads."""

    def __init__(self, work: WorkerSettings) -> None:
        self._work = work
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="worker", daemon=True).start()
        # Never closed: it ends with this process, which Ray ends when there is no more work.
        self._context = open_local(work.settings, work.cores, BLOCKS_AT_A_TIME)
        self._engine = asyncio.run_coroutine_threadsafe(self._open(), self._loop)

    def __call__(self, block: Block) -> BlockOutcome:
        embedding = self._embed([str(name) for name in block["names"]])
        try:
            result = asyncio.run_coroutine_threadsafe(embedding, self._loop).result()
        except LikenessError as error:
            return {"outcome": error}
        return {"outcome": result}

    async def _open(self) -> LocalEngine:
        return await self._context.__aenter__()

    async def _embed(self, names: Sequence[str]) -> BlockResult:
        engine = await asyncio.wrap_future(self._engine)
        rows = [row async for row in engine.embed(self._work.root, names, self._work.policy)]
        return BlockResult(rows, engine.origin.fingerprint)


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Send blocks of names to workers, which find the photos at the same path as this process."""

    settings: Settings
    origin: VectorOrigin
    plan: WorkerPlan
    gpus: float

    async def embed(
        self, root: Path, names: Sequence[str], policy: FacePolicy
    ) -> AsyncGenerator[Row]:
        size = BATCHES_A_BLOCK * batch_size(self.settings, self.gpus > 0)
        blocks: list[Block] = [
            {"names": list(names[start : start + size])} for start in range(0, len(names), size)
        ]
        if not blocks:
            return
        results = self._run(blocks, root, policy)
        # In a thread, so that an interrupt does not wait for the next block.
        while block := await asyncio.to_thread(next, results, None):
            for row in block.rows:
                yield row

    def _run(
        self, blocks: Sequence[Block], root: Path, policy: FacePolicy
    ) -> Iterator[BlockResult]:
        """Yield the results of the blocks as soon as they are ready."""
        from ray.data import ActorPoolStrategy, DataContext, from_items
        from ray.exceptions import RayError

        # Progress and errors are shown by this program instead.
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
                yield checked_result(row["outcome"], self.origin.fingerprint)
        except RayError as exc:
            raise LikenessError(f"The cluster failed: {_last_line(exc)}") from exc


def checked_result(outcome: BlockResult | LikenessError, fingerprint: str) -> BlockResult:
    """Return a worker's result; raises LikenessError if it failed or its bundle is another one."""
    if isinstance(outcome, LikenessError):
        raise outcome
    if outcome.fingerprint != fingerprint:
        raise LikenessError(
            f"A worker has another bundle ({outcome.fingerprint[:12]}) than this machine "
            f"({fingerprint[:12]}): install the same release and the same files on all machines."
        )
    return outcome


@asynccontextmanager
async def open_ray(settings: Settings, cluster: Cluster) -> AsyncIterator[RayEngine]:
    """Connect to the cluster and yield its engine; raises LikenessError."""
    bundle = await asyncio.to_thread(load_bundle_of, settings)
    with cluster_connection(cluster.address):
        yield RayEngine(
            _portable_settings(settings, cluster.gpus),
            origin_of(bundle),
            plan_workers(cluster),
            cluster.gpus,
        )


def _portable_settings(settings: Settings, gpus: float) -> Settings:
    """Return settings that mean the same on another machine, in another working folder."""
    changes: dict[str, object] = {}
    bundle = settings.bundle
    if bundle is not None and bundle not in BUILTIN_NAMES and Path(bundle).is_dir():
        changes["bundle"] = str(Path(bundle).absolute())
    for name in ("yunet_path", "weights"):
        if (path := getattr(settings, name)) is not None:
            changes[name] = path.absolute()
    if settings.device == "auto":
        # A worker without a GPU of its own may still see the GPUs of its machine.
        changes["device"] = "cuda" if gpus else "cpu"
    return settings.model_copy(update=changes)


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]
