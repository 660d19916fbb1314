"""Reach a Ray cluster, or start one on this machine, and see how many workers it has room for.

Ray is imported where it is used, for it reads the environment when it is imported.
"""

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from models.errors import LikenessError

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
class Room:
    """Hold how many workers there are to be, of how many cores each."""

    workers: int
    cores: int


@contextmanager
def connected(address: str | None) -> Iterator[None]:
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


def room(cluster: Cluster) -> Room:
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
    return Room(workers, cores)
