"""A real Ray cluster of this machine, in a process of its own, to connect to by its address."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

_HEAD = """
import sys
from service.bulk.ray import cluster_connection

with cluster_connection(None):
    import ray

    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Head:
    """Hold where a cluster is, and the environment that lets one in."""

    address: str
    environment: Mapping[str, str]


@contextmanager
def running_head() -> Iterator[Head]:
    """Start a cluster on the loopback, and end it afterwards."""
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    with subprocess.Popen(
        [sys.executable, "-c", _HEAD],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Head(process.stdout.readline().strip(), environment)
        finally:
            process.stdin.close()
            process.wait()
