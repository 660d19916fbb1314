"""Photos that are small as files and large as pixels: what one request of them takes and leaves."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import httpx
from PIL import Image

from service.settings import Settings
from tests.images import encode
from tests.server import RunningServer, running_server
from tests.tools.bench.machine import resident_mb
from tests.tools.reliability.row import Row

THREADS = 2
SIDE = 7000
ATTACKS = 5
# Of a photo that is decoded: four bytes a pixel as Pillow has it, three as the service has it, and
# three more for a smaller copy of it to look for small faces in.
BYTES_A_PIXEL = 10
# The detector's network keeps the room that it took for a large photo, in each thread.
KEPT_MB = 150 * THREADS
# Then no photo is begun with any more, and no longer than that may the last ones take.
LATEST_S = Settings().request_timeout_s + Settings().watchdog_s
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Attack:
    """Hold what an attack was answered with, how long it took, and the memory at most and after."""

    code: str
    seconds: float
    peak_mb: float
    after_mb: float


def rows(scale: float) -> list[Row]:
    """Send the same request five times at scale 1; each holds as many photos as it may."""
    photos = [("image", encode(Image.new("RGB", (SIDE, SIDE), "teal"), "PNG"))]
    photos *= Settings().max_images
    environment = {"LIKENESS_LOG_LEVEL": "error", "LIKENESS_DECODE_THREADS": str(THREADS)}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder) / "likeness.db", environment) as server,
    ):
        before_mb = resident_mb(server.process.pid)
        attacks = [_attack(server, photos) for _ in range(max(2, round(ATTACKS * scale)))]
    sent_mb = sum(len(photo) for _, photo in photos) / 1e6
    amount = f"{len(photos)} PNGs of {SIDE**2 / 1e6:.0f} megapixels, {sent_mb:.1f} MB"
    return [_first_row(amount, before_mb, attacks[0]), _last_row(attacks)]


def _attack(server: RunningServer, photos: list[tuple[str, bytes]]) -> Attack:
    pid = server.process.pid
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
    with httpx.Client(base_url=server.url, timeout=600) as client:
        began = perf_counter()
        response = client.post("/embed", files=photos)
        seconds = perf_counter() - began
    return Attack(response.json()["code"], seconds, resident_mb(pid, "VmHWM"), resident_mb(pid))


def _first_row(amount: str, before_mb: float, attack: Attack) -> Row:
    most_mb = before_mb + THREADS * BYTES_A_PIXEL * SIDE**2 / 2**20
    left_mb = before_mb + KEPT_MB
    return Row(
        "memory per request: photos without a face",
        amount,
        f"{attack.code} after {attack.seconds:.0f} s; {before_mb:.0f} MB before, "
        f"{attack.peak_mb:.0f} at most, {attack.after_mb:.0f} after",
        f"no_face within {LATEST_S:.0f} s; at most {most_mb:.0f} MB, {left_mb:.0f} after",
        attack.code == "no_face"
        and attack.seconds <= LATEST_S
        and attack.peak_mb <= most_mb
        and attack.after_mb <= left_mb,
    )


def _last_row(attacks: list[Attack]) -> Row:
    second, last = attacks[1], attacks[-1]
    allowed_mb = 64
    return Row(
        "memory per request: the same once more",
        f"{len(attacks)} times",
        f"{second.after_mb:.0f} MB after the second, {last.after_mb:.0f} after the last",
        f"within {allowed_mb} MB",
        last.after_mb - second.after_mb <= allowed_mb,
    )
