"""Send photos that are small as files and large as pixels, and measure time and memory."""

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
# For a decoded photo: four bytes per pixel in Pillow, three in the service, and three for a resized
# copy in which small faces are searched.
BYTES_A_PIXEL = 10
# In each thread the network of the detector keeps the memory of its largest photo.
KEPT_MB = 150 * THREADS
# After this time no further photo is started; the last ones may take this long again.
LATEST_S = Settings().request_timeout_s + Settings().watchdog_s
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Attack:
    """Hold the answer to an attack, its duration, and the maximal and the final memory."""

    code: str
    seconds: float
    peak_mb: float
    after_mb: float


def rows(scale: float) -> list[Row]:
    """Send the same request five times at scale 1, with the largest allowed number of photos."""
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
        "memory per request: the same request again",
        f"{len(attacks)} times",
        f"{second.after_mb:.0f} MB after the second, {last.after_mb:.0f} after the last",
        f"within {allowed_mb} MB",
        last.after_mb - second.after_mb <= allowed_mb,
    )
