"""The service runs where memory is short, with the settings that the operators' page names."""

import re
from pathlib import Path

from tests.docs import CAPACITY
from tests.photos import photo_bytes
from tests.server import running_server

# What a board with 1 GB has left beside its system.
MOST_MB = 640


def small_settings() -> dict[str, str]:
    """Return the variables of the page's section on small machines."""
    section = CAPACITY.read_text().partition("## Small machines")[2].partition("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return dict(re.findall(r"([A-Z_]+)=(\S+)", block[1]))


def test_small_machine_verifies_within_its_memory(tmp_path: Path) -> None:
    settings = small_settings()
    assert "LIKENESS_MAX_BATCH" in settings
    photo = {"image": photo_bytes("grace")}
    with (
        running_server(tmp_path / "likeness.db", settings) as server,
        server.client() as client,
    ):
        assert client.post("/enroll", data={"subject": "grace"}, files=photo).status_code == 201
        for _ in range(20):
            answer = client.post("/verify", data={"subject": "grace"}, files=photo).json()
            assert answer["decision"] == "match"
        status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    assert int(peak[1]) / 1024 < MOST_MB
