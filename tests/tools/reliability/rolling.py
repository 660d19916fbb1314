"""Restart two replicas behind a real proxy in turn under load: no request may fail."""

import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from threading import Event

from tests.deployment import Deployment, running_deployment
from tests.postgres import running_cluster
from tests.proxy import HAPROXY
from tests.tools.reliability.row import Row

TURNS = 10
CALLERS = 3


def under_load(deployment: Deployment, work: Callable[[], None]) -> Counter[int]:
    """Verify and enrol until the work is done, and count the statuses."""
    statuses: Counter[int] = Counter()
    over = Event()

    def call(caller: int) -> Counter[int]:
        seen: Counter[int] = Counter()
        for number in count():
            if over.is_set():
                break
            seen[deployment.verify()] += 1
            seen[deployment.enrol(f"caller{caller}-{number}")] += 1
        return seen

    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        callers = [pool.submit(call, caller) for caller in range(CALLERS)]
        stack.callback(over.set)
        work()
        over.set()
        for caller in callers:
            statuses += caller.result()
    return statuses


def rows(scale: float) -> list[Row]:
    """Restart both replicas ten times at scale 1; without a proxy, return a row that says so."""
    what = "two replicas behind HAProxy restarted in turn under load: requests failed"
    if HAPROXY is None:
        return [Row(what, "none: there is no haproxy here", "not tried", "0", True)]
    turns = max(1, round(TURNS * scale))
    with (
        tempfile.TemporaryDirectory() as folder,
        running_cluster() as cluster,
        running_deployment(cluster.new_database(), Path(folder)) as deployment,
    ):

        def restart() -> None:
            for _ in range(turns):
                deployment.restart_in_turn()

        statuses = under_load(deployment, restart)
    failed = statuses.total() - statuses[200] - statuses[201]
    amount = f"{2 * turns} restarts, {statuses.total():,} requests"
    return [Row(what, amount, str(failed), "0", failed == 0)]
