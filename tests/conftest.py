"""What all tests share: no downloads, and markers that say what a test needs."""

import os
from collections.abc import Iterator
from pathlib import Path

# Before anything imports the hub's client or torch, which read them once. Threads that wait for
# each other on a core that is not theirs alone make small networks several times slower.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from numpy.typing import NDArray

from models.photo.image import decode
from models.weights import has_dlib
from tests.photos import Name, photo_bytes
from tests.postgres import Cluster, running_cluster

Pixels = NDArray[np.uint8]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this machine lacks the photos, the device or the extra for."""
    if item.get_closest_marker("faces") and not _faces_folder().is_dir():
        pytest.skip("LIKENESS_FACES does not name the folder of the research photo sets")
    if item.get_closest_marker("gpu") and not _sees_cuda():
        pytest.skip("torch sees no CUDA device")
    if item.get_closest_marker("dlib") and not has_dlib():
        pytest.skip("the extra dlib is not installed")


def _faces_folder() -> Path:
    return Path(os.environ.get("LIKENESS_FACES") or "unset")


def _sees_cuda() -> bool:
    import torch  # takes seconds: only for who asks

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def faces() -> Path:
    """Return the folder of the research photo sets; for tests marked `faces`."""
    return _faces_folder()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run a PostgreSQL server that all tests share, each with a database of its own."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def grace() -> Pixels:
    """Return Grace Hopper's portrait, `(600, 512, 3)` uint8."""
    return _read_only("grace")


@pytest.fixture(scope="session")
def astronaut() -> Pixels:
    """Return Eileen Collins' portrait, `(512, 512, 3)` uint8."""
    return _read_only("astronaut")


def _read_only(name: Name) -> Pixels:
    pixels = decode(photo_bytes(name)).pixels
    pixels.flags.writeable = False
    return pixels
