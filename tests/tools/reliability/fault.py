"""Test one fault: the answers and probes during it, and the recovery after it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter, sleep

import httpx

from tests.tools.reliability.client import photo
from tests.tools.reliability.row import Row

# A service that takes longer did not recover by itself.
PATIENCE_S = 30.0
HELD = 3

Ask = Callable[[httpx.Client], httpx.Response]


@dataclass(frozen=True, slots=True)
class Fault:
    """Hold a fault, the requests during it, and the right answers."""

    what: str
    occurs: Callable[[], AbstractContextManager[None]]
    asks: Sequence[Ask]
    answers: frozenset[str]
    """The right answers: a status and, for a problem, its code."""
    live: bool = True
    ready: bool = False
    lasting: bool = False
    """True if only a restart ends the fault."""


def enrol(client: httpx.Client, subject: str = "new", seed: int = 1000) -> httpx.Response:
    return client.post("/enroll", data={"subject": subject}, files={"image": photo(seed)})


def delete(client: httpx.Client) -> httpx.Response:
    return client.delete("/subjects/held0")


def verify(client: httpx.Client) -> httpx.Response:
    fields = {"subject": "held0", "threshold": "0"}
    return client.post("/verify", data=fields, files={"image": photo(0)})


def embed(client: httpx.Client) -> httpx.Response:
    return client.post("/embed", files={"image": photo(0)})


def try_out(of: str, fault: Fault, client: httpx.Client) -> Row:
    """Start and end a fault on a server with some subjects, and report the result."""
    for number in range(HELD):
        enrol(client, f"held{number}", number).raise_for_status()
    with fault.occurs():
        seen = frozenset(_answer(ask, client) for ask in fault.asks)
        live, ready = probes(client)
    recovery_s = None if fault.lasting else seconds_to_recovery(client)
    kept = sum(client.get(f"/subjects/held{number}").is_success for number in range(HELD))
    return Row(
        f"{of}: {fault.what}",
        f"{len(fault.asks)} requests",
        f"{', '.join(sorted(seen))}; {_probes(live, ready)}; {_recovery(fault, recovery_s)}; "
        f"{kept} of {HELD} kept",
        f"{', '.join(sorted(fault.answers))}; {_probes(fault.live, fault.ready)}; "
        f"{'a restart' if fault.lasting else 'back by itself'}; all kept",
        (seen, live, ready, kept) == (fault.answers, fault.live, fault.ready, HELD)
        and (fault.lasting or recovery_s is not None),
    )


def _answer(ask: Ask, client: httpx.Client) -> str:
    try:
        return answer_of(ask(client))
    except httpx.TransportError as error:
        return type(error).__name__


def answer_of(response: httpx.Response) -> str:
    """Return the status and, for a problem, its code."""
    if response.is_success:
        return str(response.status_code)
    return f"{response.status_code} {response.json()['code']}"


def probes(client: httpx.Client) -> tuple[bool, bool]:
    """Tell whether the service reports that it is live, and that it is ready."""
    return client.get("/livez").is_success, client.get("/readyz").is_success


def seconds_to_recovery(client: httpx.Client) -> float | None:
    """Return the seconds until the service is ready and works, or None if it does not recover."""
    began = perf_counter()
    while perf_counter() - began < PATIENCE_S:
        if all(probes(client)):
            took = perf_counter() - began
            right = all(ask(client).is_success for ask in (enrol, verify, embed))
            return took if right else None
        sleep(0.05)
    return None


def _probes(live: bool, ready: bool) -> str:
    return f"{'live' if live else 'not live'}, {'ready' if ready else 'not ready'}"


def _recovery(fault: Fault, seconds: float | None) -> str:
    if fault.lasting:
        return "a restart"
    return "not back" if seconds is None else f"back after {seconds:.1f} s"
