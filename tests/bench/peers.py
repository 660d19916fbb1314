"""Others side by side with us, same weights, same photos, one run: `python -m tests.bench.peers`.

Each server is a process of its own in an environment of its own under `build/peers`, made the
first time. What cannot be installed or does not start is skipped, and the table says why.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from models.bundle import load_bundle
from models.embedder import Embedder
from models.encoder.device import choose_device, choose_precision
from models.encoder.engine import EngineName
from tests.bench.bodies import MULTIPART, cycle, multipart, photos
from tests.bench.encoders import rates
from tests.bench.load import Body, Load, Target, closed_loop
from tests.bench.machine import describe_machine, markdown
from tests.bench.rivals.checkpoint import checkpoint
from tests.server import running_server

HOME = Path("build/peers")
RIVALS = Path(__file__).parent / "rivals"
CONNECTIONS = (1, 8, 32)
BATCHES = (1, 2, 4, 8, 16, 32)
SECONDS = 5.0
START_S = 60.0


class Unavailable(Exception):
    """A peer cannot be installed or started here; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Hold a server: how to start it with a folder of weights and a port, and how to ask it.

    `engine` names ours; a rival has `command`, and a list of requirements where it needs an
    environment of its own.
    """

    name: str
    path: str
    content_type: str
    body: Callable[[bytes], bytes]
    engine: EngineName | None = None
    requirements: Path | None = None
    command: Sequence[str] = ()


def _infinity_body(photo: bytes) -> bytes:
    data = base64.b64encode(photo).decode()
    return (
        f'{{"model": "vit-b-32", "modality": "image", "input": ["data:image/jpeg;base64,{data}"]}}'
    ).encode()


def _litserve_body(photo: bytes) -> bytes:
    return b'{"image": "%s"}' % base64.b64encode(photo)


def peers() -> list[Peer]:
    """Return ours by engine, and the rivals."""
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
            command=(sys.executable, "-m", "tests.bench.rivals.plain_server", "{folder}", "{port}"),
        ),
    ]


@contextmanager
def running(peer: Peer, folder: Path, store: Path) -> Iterator[str]:
    """Start a peer and give its URL once it has answered a photo; raises Unavailable."""
    if peer.engine is not None:
        settings = {
            "LIKENESS_BUNDLE": str(folder),
            "LIKENESS_DETECTOR": "none",
            "LIKENESS_ENGINE": peer.engine,
        }
        with ExitStack() as stack:
            try:
                server = stack.enter_context(running_server(store, settings))
            except AssertionError as exc:
                raise Unavailable(f"did not start: {str(exc)[:80]}") from exc
            yield server.url
        return
    environment = _environment(peer) if peer.requirements else HOME
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    known = {"bin": str(environment / "bin"), "folder": str(folder), "port": str(port)}
    command = [word.format(**known) for word in peer.command]
    log = HOME / f"{command[0].rsplit('/', 1)[-1]}-{port}.log"
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    with (
        log.open("w") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | quiet,
            start_new_session=True,
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(peer, process, url, log)
            yield url
        finally:
            # Its workers too: they are in the session that began with it.
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (15, 9):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            continue


def _wait(peer: Peer, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    probe = Body(peer.body(photos(224, 224, 1)[0]))
    target = Target(url, peer.path, peer.content_type)
    deadline = monotonic() + START_S
    while monotonic() < deadline and process.poll() is None:
        replies = asyncio.run(closed_loop(target, [probe], 1)).replies
        if replies[0].status == 200:
            return
        sleep(1)
    last = log.read_text().strip().splitlines() or ["nothing printed"]
    raise Unavailable(f"did not start: {last[-1].strip()[:80]}")


def _environment(peer: Peer) -> Path:
    """Return the peer's environment, made if it is not there; raises Unavailable."""
    assert peer.requirements is not None
    folder = HOME / peer.requirements.stem
    done = folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "-r", str(peer.requirements)]
        made = subprocess.run(pip, capture_output=True, text=True, check=False)
        if made.returncode:
            reason = made.stderr.strip().splitlines() or ["pip failed"]
            raise Unavailable(f"cannot be installed: {reason[-1][:80]}")
        done.touch()
    return folder


def in_process(folder: Path, engine: EngineName) -> float:
    """Return the most crops a second that an engine computes when fed with ready crops."""
    device = choose_device()
    embedder = Embedder(load_bundle(str(folder)), device, choose_precision(device), engine)
    return max(rates(embedder, BATCHES, rounds=5))


async def measure(peer: Peer, url: str, made: Sequence[bytes], connections: int) -> Load:
    """Send photos for about SECONDS, after as many as there are connections to warm up."""
    target = Target(url, peer.path, peer.content_type)
    forms = [peer.body(photo) for photo in made]
    warm = await closed_loop(target, cycle(forms, 2 * connections), connections)
    count = max(2 * connections, round(warm.rate * SECONDS))
    return await closed_loop(target, cycle(forms, count), connections)


Measured = Mapping[tuple[str, int], Sequence[Load]]


def measure_all(
    chosen: Sequence[Peer], folder: Path, made: Sequence[bytes], rounds: int
) -> tuple[Measured, Mapping[str, str]]:
    """Return what every peer did at every number of connections, and why some did nothing."""
    loads: dict[tuple[str, int], list[Load]] = {}
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        # A round passes every peer: what the machine does meanwhile harms all alike.
        for peer in (peer for _ in range(rounds) for peer in chosen):
            if peer.name in skipped:
                continue
            try:
                with running(peer, folder, Path(name) / f"{peer.engine}.db") as url:
                    for connections in CONNECTIONS:
                        load = asyncio.run(measure(peer, url, made, connections))
                        loads.setdefault((peer.name, connections), []).append(load)
            except Unavailable as reason:
                skipped[peer.name] = str(reason)
    return loads, skipped


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="leave out the peers whose name lacks this")
    arguments = parser.parse_args()
    print(describe_machine(), flush=True)
    folder = checkpoint(HOME / "vit-b-32")
    made = photos(224, 224, 64)
    chosen = [peer for peer in peers() if (arguments.only or "") in peer.name]
    loads, skipped = measure_all(chosen, folder, made, arguments.rounds)
    ceilings = {
        peer.name: in_process(folder, peer.engine)
        for peer in chosen
        if peer.engine is not None and peer.name not in skipped
    }
    print(f"\n{report(loads, ceilings, skipped)}")


def report(loads: Measured, ceilings: Mapping[str, float], skipped: Mapping[str, str]) -> str:
    """Return the table: medians of the rounds, ratios to infinity at the same connections."""
    per_s = {key: median(load.rate for load in rounds) for key, rounds in loads.items()}
    latencies = {key: median(load.ms(0.5) for load in rounds) for key, rounds in loads.items()}
    rows: list[tuple[str, ...]] = []
    for name, connections in loads:
        key = (name, connections)
        rival = next((k for k in loads if "infinity" in k[0] and k[1] == connections), None)
        share = f"{per_s[key] / ceilings[name]:.2f}" if name in ceilings else "-"
        p95 = median(load.ms(0.95) for load in loads[key])
        against = (
            ("-", "-")
            if rival is None
            else (f"{per_s[key] / per_s[rival]:.2f}", f"{latencies[key] / latencies[rival]:.2f}")
        )
        cells = (f"{per_s[key]:.1f}", f"{latencies[key]:.0f}", f"{p95:.0f}", *against, share)
        rows.append((name, str(connections), *cells))
    head = (
        *("server", "connections", "photos/s", "p50 ms", "p95 ms"),
        *("rate / infinity's", "p50 / infinity's", "share of in-process"),
    )
    best = ", ".join(f"{name} {rate:.1f}" for name, rate in ceilings.items())
    title = f"ViT-B/32, photos of 224 px over HTTP; ready crops in process, crops/s: {best}"
    lines = (f"Skipped: {name} {reason}" for name, reason in skipped.items())
    return "\n\n".join((markdown(title, head, rows), *lines))


if __name__ == "__main__":
    main()
