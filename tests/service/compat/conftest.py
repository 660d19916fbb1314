"""A server that speaks CompreFace's API too, and its own client."""

from collections.abc import Iterator

import pytest

from tests.photos import group_photo
from tests.server import RunningServer, running_server
from tests.service.compat.sdk import Sdk


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"LIKENESS_COMPREFACE": "true", "LIKENESS_STORE_IMAGES": "true"}
    with running_server(tmp_path_factory.mktemp("data") / "likeness.db", settings) as running:
        yield running


@pytest.fixture
def sdk(server: RunningServer) -> Iterator[Sdk]:
    """Return a client with nobody enrolled."""
    sdk = Sdk(server.url)
    yield sdk
    sdk.subjects.delete_all()


@pytest.fixture(scope="session")
def group() -> bytes:
    return group_photo()
