"""Run a server whose database is on a small disk, and fill the disk.

The file system is mounted in a namespace of the server, which needs no administrator if the kernel
lets users do so.
"""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.server import running_server
from tests.tools.reliability.fault import try_out
from tests.tools.reliability.row import Row
from tests.tools.reliability.store_faults import full_disk_fault

_MOUNT = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'


def small_disk_rows(settings: Mapping[str, str], folder: Path) -> list[Row]:
    """Fill the disk of a database; without such a disk, return a row that says so."""
    folder.mkdir()
    within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, str(folder)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*within, "true"], capture_output=True, check=False).returncode != 0
    ):
        return [Row("SQLite: its disk is full", "none: no mounts here", "not tried", "", True)]
    with (
        running_server(folder / "likeness.db", settings, within=within) as server,
        server.client() as client,
    ):
        seen_from_here = Path(f"/proc/{server.process.pid}/root{folder}")
        return [try_out("SQLite", full_disk_fault(seen_from_here), client)]
