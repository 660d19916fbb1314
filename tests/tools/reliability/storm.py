"""Kill the server with `kill -9` during many changes to a sealed store, and check the store."""

import random
import tempfile
import threading
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.contracts.store.samples import MASTER
from tests.postgres import running_cluster
from tests.tools.reliability.audit import log_entries, verified
from tests.tools.reliability.client import StormClient, photo, templates_of
from tests.tools.reliability.forked import Nursery
from tests.tools.reliability.journal import Violations
from tests.tools.reliability.row import Row
from tests.tools.reliability.small import small_service

KILLS = 200
CLIENTS = 4
# Long enough for about twenty requests; several are running when it ends.
LONGEST_STORM_S = 0.5

PowerCut = Callable[[], None]


@dataclass(slots=True)
class Storm:
    """Kill a server round after round, and count the errors."""

    nursery: Nursery
    dice: random.Random = field(default_factory=lambda: random.Random(9))
    clients: list[StormClient] = field(
        default_factory=lambda: [StormClient(number) for number in range(CLIENTS)]
    )
    wrong: Violations = field(default_factory=Violations)
    kills: int = 0
    audits: int = 0
    receipt: str | None = None
    """Of the log's last entry before the storm."""

    @property
    def acknowledged(self) -> int:
        return sum(client.journal.acknowledged for client in self.clients)

    def round(self, power_cut: PowerCut | None = None) -> None:
        """Check the store after the last kill, then send changes until the next kill."""
        with self.nursery.server() as server:
            with server.client() as client:
                self.check(client)
            begun = threading.Barrier(CLIENTS + 1)
            with ThreadPoolExecutor(CLIENTS) as pool:
                storms = [
                    pool.submit(each.storm, server.url, begun, power_cut is not None)
                    for each in self.clients
                ]
                begun.wait(30)
                threading.Event().wait(self.dice.uniform(0, LONGEST_STORM_S))
                if power_cut is not None:
                    power_cut()
                server.kill()
                self.kills += 1
                for storm in storms:
                    storm.result()

    def last_check(self) -> None:
        """Check the store after the last kill."""
        with self.nursery.server() as server, server.client() as client:
            self.check(client)

    def check(self, client: httpx.Client) -> None:
        """Compare journals, gallery, search and audit log with each other."""
        for each in self.clients:
            found = {subject: templates_of(client, subject) for subject in each.journal.held}
            each.journal.settle(found, self.wrong)
            self.wrong.half_done += not each.settle_enrolment(client)
        held = {s: t for each in self.clients for s, t in each.journal.held.items() if t}
        self._check_search(client, set(held))
        self._check_log(client, sum(map(len, held.values())))

    def _check_search(self, client: httpx.Client, held: set[str]) -> None:
        """Check that a search finds enrolled subjects and no deleted ones."""
        if not held:
            return
        asked = {"threshold": "-1", "limit": "100"}
        response = client.post("/identify", data=asked, files={"image": photo(0)})
        found = {each["subject"] for each in response.raise_for_status().json()["candidates"]}
        self.wrong.lost += len(held - found)
        self.wrong.back += len(found - held)

    def _check_log(self, client: httpx.Client, held: int) -> None:
        """Verify the log with the last receipt; it must name each template in the gallery."""
        known = (self.receipt, *(each.receipt for each in self.clients))
        self.receipt = verified(client, [receipt for receipt in known if receipt is not None])
        self.audits += 1
        logged = sum(
            entry.counts.get("templates", 0) * (1 if entry.action == "enrolled" else -1)
            for entry in log_entries(client)
        )
        self.wrong.lost += max(0, logged - held)
        self.wrong.back += max(0, held - logged)


def sqlite_storm(nursery: Nursery, kills: int) -> Storm:
    """Kill a server with a new SQLite file `kills` times."""
    with tempfile.TemporaryDirectory() as folder:
        storm = Storm(_sealed(nursery, f"sqlite:///{folder}/likeness.db"))
        for _ in range(kills):
            storm.round()
        storm.last_check()
    return storm


def postgres_storm(nursery: Nursery, kills: int) -> Storm:
    """Kill a server with a new database; in every fourth round the database with it.

    In turn, all its processes are killed at once, as in a power failure, or only the first one.
    """
    with running_cluster() as cluster:
        storm = Storm(_sealed(nursery, cluster.new_database()))
        for number in range(kills):
            if number % 4 == 1:
                storm.round(cluster.kill if number % 8 == 1 else cluster.crash)
                cluster.start()
            else:
                storm.round()
        storm.last_check()
    return storm


def _sealed(nursery: Nursery, store: str) -> Nursery:
    return nursery.set(store=store, master_keys=b64encode(MASTER).decode())


def rows(scale: float) -> list[Row]:
    """Kill the server 200 times with each store, at scale 1."""
    kills = max(2, round(KILLS * scale))
    with tempfile.TemporaryDirectory() as folder:
        nursery = small_service(Path(folder))
        storms = {
            "SQLite": sqlite_storm(nursery, kills),
            "PostgreSQL, every fourth time with the database": postgres_storm(nursery, kills),
        }
    return [
        Row(
            f"kill -9 in a storm of enrolments, renamings and deletions, {engine}",
            f"{storm.kills} kills, {storm.acknowledged:,} acknowledged changes",
            f"{storm.wrong}; audit log verified {storm.audits} times",
            f"{Violations()}; after every kill",
            not storm.wrong and storm.audits == storm.kills + 1,
        )
        for engine, storm in storms.items()
    ]
