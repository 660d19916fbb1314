"""Servers with the APIs of other services, and the clients of these services."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.photos import group_photo
from tests.server import RunningServer, running_server
from tests.service.compat.aws import rekognition_client
from tests.service.compat.sdk import Sdk


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {
        "LIKENESS_COMPREFACE": "true",
        "LIKENESS_REKOGNITION": "true",
        "LIKENESS_STORE_IMAGES": "true",
    }
    with running_server(tmp_path_factory.mktemp("data") / "likeness.db", settings) as running:
        yield running


@pytest.fixture
def sdk(server: RunningServer) -> Iterator[Sdk]:
    """Return a client of an empty gallery."""
    sdk = Sdk(server.url)
    yield sdk
    sdk.subjects.delete_all()


@pytest.fixture
def aws(server: RunningServer) -> Iterator[Any]:
    """Return boto3's client without any collection."""
    client = rekognition_client(server.url)
    yield client
    for name in client.list_collections()["CollectionIds"]:
        client.delete_collection(CollectionId=name)


@pytest.fixture(scope="session")
def group() -> bytes:
    return group_photo()
