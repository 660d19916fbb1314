"""Concurrent requests get what they would have got alone."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.photos import Name, reencoded
from tests.server import RunningServer, running_server

REQUESTS = 64
TOLERANCE = {"fp32": 0.99999, "bf16": 0.999}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    store = tmp_path_factory.mktemp("data") / "likeness.db"
    # More decoders than cores: else a crop is embedded before the next one is cut.
    settings = {"LIKENESS_QUEUE_TIMEOUT_S": "60", "LIKENESS_DECODE_THREADS": "4"}
    with running_server(store, settings) as running:
        yield running


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
        yield client


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    names: tuple[Name, Name] = ("grace", "astronaut")
    return [reencoded(names[i % 2], side=256 + 3 * i) for i in range(REQUESTS)]


async def embed(client: httpx.AsyncClient, photo: bytes) -> NDArray[np.float32]:
    response = await client.post("/embed", files={"image": photo})
    assert response.status_code == 200, response.text
    return np.array(response.json()["images"][0]["vector"], np.float32)


async def test_concurrent_photos_get_the_vectors_they_get_alone(
    client: httpx.AsyncClient, photos: list[bytes]
) -> None:
    alone = [await embed(client, photo) for photo in photos]
    order = random.Random(7).sample(range(REQUESTS), REQUESTS)
    together = dict(
        zip(
            order,
            await asyncio.gather(*(embed(client, photos[i]) for i in order)),
            strict=True,
        )
    )
    precision = (await client.get("/model")).json()["precision"]
    worst = min(float(alone[i] @ together[i]) for i in range(REQUESTS))
    assert worst >= TOLERANCE[precision]


async def test_concurrent_photos_share_batches(
    client: httpx.AsyncClient, photos: list[bytes]
) -> None:
    # Eight photos of one request enter the queue while the encoder is busy with the first.
    await asyncio.gather(
        *(
            client.post("/embed", files=[("image", photo) for photo in photos[i : i + 8]])
            for i in range(0, REQUESTS, 8)
        )
    )
    metrics = (await client.get("/metrics")).text
    buckets = {
        line.split('"')[1]: float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("likeness_batch_size_bucket")
    }
    assert buckets["+Inf"] > buckets["1.0"]
