"""What was acknowledged survives `kill -9`: the real server, killed at random moments."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.photos import reencoded
from tests.server import running_server

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "5"))


def enrol_until_killed(url: str, round_: int, enough: threading.Event, wanted: int) -> list[str]:
    """Enrol subject after subject; return those acknowledged, and tell when there are enough."""
    acknowledged: list[str] = []
    with httpx.Client(base_url=url, timeout=60) as client:
        while True:
            subject = f"round{round_}-{len(acknowledged)}"
            photo = reencoded("astronaut", side=300 + 2 * len(acknowledged))
            try:
                response = client.post("/enroll", data={"subject": subject}, files={"image": photo})
            except httpx.TransportError:
                return acknowledged
            assert response.status_code == 201, response.text
            acknowledged.append(subject)
            if len(acknowledged) == wanted:
                enough.set()


def test_acknowledged_enrolments_survive_kill_9(tmp_path: Path) -> None:
    store = tmp_path / "likeness.db"
    chance = random.Random(9)
    expected: set[str] = set()
    with ThreadPoolExecutor(1) as pool:
        for round_ in range(ROUNDS):
            with running_server(store) as server:
                enough = threading.Event()
                wanted = chance.randint(1, 8)
                client = pool.submit(enrol_until_killed, server.url, round_, enough, wanted)
                assert enough.wait(timeout=60)
                # Anywhere within the time that about two more enrolments take.
                threading.Event().wait(chance.uniform(0, 0.2))
                server.kill()
                expected |= set(client.result())
    with running_server(store) as server, server.client() as reader:
        held = {s["subject"] for s in reader.get("/subjects?limit=1000").json()["items"]}
    assert expected - held == set()
