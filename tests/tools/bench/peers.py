"""Compare Likeness with other servers, in one run: `python -m tests.tools.bench.peers`.

All servers have the same weights and photos. Each server and each measurement runs in its own
process. A server that needs its own environment gets one under `build/peers` in the first run. A
server that cannot be installed, does not start, crashes or takes too long is left out from then
on, and the table says why. Each figure is printed at once, and the table so far is in
`build/peers/table.md`.
"""

import argparse
import asyncio
import base64
import os
import socket
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from tests.server import running_server
from tests.tools.bench.apart import Unavailable, apart, ended
from tests.tools.bench.bodies import MULTIPART, cycle, multipart, photos
from tests.tools.bench.load import Body, Load, Target, closed_loop
from tests.tools.bench.machine import describe_machine, markdown

if TYPE_CHECKING:
    from models.encoder import EngineName

HOME = Path("build/peers")
RIVALS = Path(__file__).parent / "rivals"
CONNECTIONS = (1, 8, 32)
BATCHES = (1, 2, 4, 8, 16, 32)
SECONDS = 5.0
START_S = 60.0
# For one server at all numbers of connections, and the creation of its environment.
LIMIT_S = 900.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Hold a server: the command that starts it, and the path and bodies of its requests.

    `engine` is set for Likeness. Another server has a `command` with a folder of weights and a
    port, and `requirements` if it needs its own environment.
    """

    name: str
    path: str
    content_type: str
    body: Callable[[bytes], bytes]
    engine: "EngineName | None" = None
    requirements: Path | None = None
    command: Sequence[str] = ()


def _infinity_body(photo: bytes) -> bytes:
    data = base64.b64encode(photo).decode()
    return (
        f'{{"model": "vit-b-32", "modality": "image", "input": ["data:image/jpeg;base64,{data}"]}}'
    ).encode()


def _litserve_body(photo: bytes) -> bytes:
    return b'{"image": "%s"}' % base64.b64encode(photo)


@dataclass(frozen=True, slots=True)
class Work:
    """Hold a measurement: the peer, its weights, and the seconds at each number of connections."""

    peer: Peer
    folder: Path
    seconds: float = SECONDS
    connections: Sequence[int] = CONNECTIONS


@dataclass(frozen=True, slots=True)
class Figures:
    """Hold the photos per second of a server, and the milliseconds until an answer."""

    connections: int
    per_s: float
    p50_ms: float
    p95_ms: float

    def __str__(self) -> str:
        times = f"p50 {self.p50_ms:.0f} ms, p95 {self.p95_ms:.0f} ms"
        return f"{self.connections} connections: {self.per_s:.1f} photos/s, {times}"


@dataclass(slots=True)
class Table:
    """Hold the figures so far by peer, reasons for missing ones, and the most crops per second."""

    figures: dict[str, list[Figures]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    ceilings: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, figure: Figures | float) -> None:
        if isinstance(figure, Figures):
            self.figures.setdefault(name, []).append(figure)
        else:
            self.ceilings[name] = figure


def peers() -> list[Peer]:
    """Return Likeness with each engine, and the other servers."""
    infinity = "{bin}/infinity_emb v2 --model-id {folder} --engine torch --device cpu"
    infinity += " --dtype float32 --host 127.0.0.1 --port {port} --url-prefix"
    return [
        *(
            Peer(f"Likeness, {engine}", "/embed", "image/jpeg", bytes, engine)
            for engine in ("torch", "openvino")
        ),
        Peer(
            *("infinity-emb 0.0.77", "/embeddings", "application/json", _infinity_body),
            requirements=RIVALS / "infinity.txt",
            command=(*infinity.split(), ""),
        ),
        Peer(
            *("LitServe 0.2.19", "/embed", "application/json", _litserve_body),
            requirements=RIVALS / "litserve.txt",
            command=("{bin}/python", str(RIVALS / "litserve_server.py"), "{folder}", "{port}"),
        ),
        Peer(
            *("a plain FastAPI handler", "/embed", MULTIPART, multipart),
            command=(
                sys.executable,
                "-m",
                "tests.tools.bench.rivals.plain_server",
                "{folder}",
                "{port}",
            ),
        ),
    ]


@contextmanager
def running(peer: Peer, folder: Path, store: Path) -> Iterator[str]:
    """Start a peer and yield its URL after its first answer; raises Unavailable."""
    if peer.engine is not None:
        settings = {
            "LIKENESS_BUNDLE": str(folder),
            "LIKENESS_DETECTOR": "none",
            "LIKENESS_ENGINE": peer.engine,
            "LIKENESS_LOG_LEVEL": "warning",
        }
        with ExitStack() as stack:
            try:
                server = stack.enter_context(running_server(store, settings))
            except AssertionError as exc:
                raise Unavailable(f"did not start: {str(exc)[:80]}") from exc
            with _watched(server.process):
                yield server.url
        return
    environment = _environment(peer) if peer.requirements else HOME
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    known = {"bin": str(environment / "bin"), "folder": str(folder), "port": str(port)}
    command = [word.format(**known) for word in peer.command]
    HOME.mkdir(parents=True, exist_ok=True)
    log = HOME / f"{command[0].rsplit('/', 1)[-1]}-{port}.log"
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | quiet) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(peer, process, url, log)
            with _watched(process):
                yield url
        finally:
            # The process that measures kills its workers.
            process.kill()


@contextmanager
def _watched(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Report a crash of the server as the reason for missing figures."""
    try:
        yield
    except Unavailable as exc:
        try:
            status = process.wait(1)
        except subprocess.TimeoutExpired:
            raise exc from None
        raise Unavailable(ended(status)) from exc


def _wait(peer: Peer, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    probe = Body(peer.body(photos(224, 224, 1)[0]))
    target = Target(url, peer.path, peer.content_type)
    deadline = monotonic() + START_S
    while monotonic() < deadline and process.poll() is None:
        replies = asyncio.run(closed_loop(target, [probe], 1)).replies
        if replies[0].status == 200:
            return
        sleep(1)
    last = log.read_text().strip().splitlines() or ["it printed nothing"]
    raise Unavailable(f"did not start: {last[-1].strip()[:80]}")


def _environment(peer: Peer) -> Path:
    """Return the peer's environment, and create it if needed; raises Unavailable."""
    assert peer.requirements is not None
    folder = HOME / peer.requirements.stem
    done = folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "-r", str(peer.requirements)]
        process = subprocess.run(pip, capture_output=True, text=True, check=False)
        if process.returncode:
            reason = process.stderr.strip().splitlines() or ["pip failed"]
            raise Unavailable(f"cannot be installed: {reason[-1][:80]}")
        done.touch()
    return folder


def in_process(work: Work) -> Iterator[float]:
    """Yield the highest rate of an engine on ready crops, in crops per second."""
    from models.bundle import load_bundle  # takes seconds, and other measurements do not need it
    from models.embedder import Embedder
    from models.encoder.device import choose_device, choose_precision
    from tests.tools.bench.encoders import rates

    device, engine = choose_device(), work.peer.engine
    assert engine is not None
    bundle = load_bundle(str(work.folder))
    embedder = Embedder(bundle, device, choose_precision(device), engine)
    yield round(max(rates(embedder, BATCHES, rounds=5)), 1)


def over_http(work: Work) -> Iterator[Figures]:
    """Yield the figures of a peer at each number of connections; raises Unavailable."""
    jpegs = photos(224, 224, 64)
    with (
        tempfile.TemporaryDirectory() as name,
        running(work.peer, work.folder, Path(name) / "store.db") as url,
    ):
        for connections in work.connections:
            load = asyncio.run(measure(work, url, jpegs, connections))
            if load.hung:
                raise Unavailable(f"left {load.hung} of {len(load.replies)} photos unanswered")
            yield Figures(connections, load.rate, load.ms(0.5), load.ms(0.95))


async def measure(work: Work, url: str, jpegs: Sequence[bytes], connections: int) -> Load:
    """Send photos for some seconds, after a short warm-up."""
    target = Target(url, work.peer.path, work.peer.content_type)
    forms = [work.peer.body(photo) for photo in jpegs]
    warm = await closed_loop(target, cycle(forms, 2 * connections), connections)
    count = max(2 * connections, round(warm.rate * work.seconds))
    return await closed_loop(target, cycle(forms, count), connections)


def measure_all(works: Sequence[Work], rounds: int, out: Path, limit_s: float = LIMIT_S) -> Table:
    """Print each figure, and write the table so far to a file, at once."""
    table = Table()

    def keep(name: str, figures: Iterable[Figures | float]) -> None:
        try:
            for figure in figures:
                table.add(name, figure)
                print(f"{name}, {figure}", flush=True)
                out.write_text(report(table))
        except Unavailable as reason:
            table.missing[name] = str(reason)
            print(f"{name} {reason}", flush=True)
            out.write_text(report(table))

    # Each round measures every peer, so that other load on the machine affects all alike.
    for work in (work for _ in range(rounds) for work in works):
        if work.peer.name not in table.missing:
            keep(work.peer.name, apart(over_http, work, limit_s))
    for work in works:
        if work.peer.engine is not None:
            keep(f"{work.peer.name}, in process", apart(in_process, work, limit_s))
    return table


def main() -> None:
    """Print every figure, and the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="measure only peers whose name contains this")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="approximate duration of a measurement"
    )
    parser.add_argument(
        "--limit-s", type=float, default=LIMIT_S, help="time limit of one peer in one round"
    )
    arguments = parser.parse_args()
    from tests.tools.bench.rivals.checkpoint import checkpoint  # takes seconds, as above

    print(describe_machine(), flush=True)
    folder = checkpoint(HOME / "vit-b-32")
    chosen = [peer for peer in peers() if (arguments.only or "") in peer.name]
    works = [Work(peer, folder, arguments.seconds) for peer in chosen]
    table = measure_all(works, arguments.rounds, HOME / "table.md", arguments.limit_s)
    print(f"\n{report(table)}")


def report(table: Table) -> str:
    """Return the table: medians of the rounds, ratios to infinity at the same connections."""
    found = {
        (name, connections): [one for one in figures if one.connections == connections]
        for name, figures in table.figures.items()
        for connections in dict.fromkeys(one.connections for one in figures)
    }
    per_s = {key: median(one.per_s for one in rounds) for key, rounds in found.items()}
    p50_ms = {key: median(one.p50_ms for one in rounds) for key, rounds in found.items()}
    rows: list[tuple[str, ...]] = []
    for name, connections in found:
        key = (name, connections)
        rival = next((k for k in found if "infinity" in k[0] and k[1] == connections), None)
        ceiling = table.ceilings.get(f"{name}, in process")
        share = f"{per_s[key] / ceiling:.2f}" if ceiling else "-"
        p95_ms = median(one.p95_ms for one in found[key])
        against = (
            ("-", "-")
            if rival is None
            else (f"{per_s[key] / per_s[rival]:.2f}", f"{p50_ms[key] / p50_ms[rival]:.2f}")
        )
        cells = (f"{per_s[key]:.1f}", f"{p50_ms[key]:.0f}", f"{p95_ms:.0f}", *against, share)
        rows.append((name, str(connections), *cells))
    head = (
        *("server", "connections", "photos/s", "p50 ms", "p95 ms"),
        *("rate / infinity's", "p50 / infinity's", "share of in-process"),
    )
    rows += [(name, reason, *("-",) * 6) for name, reason in table.missing.items()]
    best = ", ".join(f"{name} {rate:.1f}" for name, rate in table.ceilings.items())
    title = f"ViT-B/32, photos of 224 px over HTTP; ready crops, crops/s: {best or '-'}"
    return markdown(title, head, rows) + "\n"


if __name__ == "__main__":
    main()
