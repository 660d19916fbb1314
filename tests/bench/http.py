"""The service over HTTP, closed loop: every connection sends its next photo on an answer."""

import asyncio
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import httpx

from tests.bench.machine import markdown
from tests.bench.stages import photo_of
from tests.photos import photo_bytes
from tests.server import running_server

CONNECTIONS = (1, 4, 16)
SMALL, LARGE = (640, 480), (4000, 3000)
LOADS = (*((SMALL, connections) for connections in CONNECTIONS), (LARGE, 1))
REQUESTS = 96


async def table(store: Path) -> str:
    """Return requests per second and latencies by route, photo and connections."""
    rows = []
    with running_server(store) as server:
        limits = httpx.Limits(max_connections=max(CONNECTIONS))
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as client:
            await client.post(
                "/enroll", data={"subject": "grace"}, files={"image": photo_bytes("grace")}
            )
            for route, data in (("/embed", {}), ("/verify", {"subject": "grace"})):
                for size, connections in LOADS:
                    row = await closed_loop(client, route, data, photo_of(*size), connections)
                    rows.append((route, "{} x {}".format(*size), str(connections), *row))
    head = ("route", "photo", "connections", "requests/s", "p50 ms", "p95 ms")
    return markdown("HTTP, one photo a request, closed loop", head, rows)


async def closed_loop(
    client: httpx.AsyncClient, route: str, data: dict[str, str], photo: bytes, connections: int
) -> tuple[str, str, str]:
    """Send REQUESTS over so many connections."""
    seconds: list[float] = []

    async def connection() -> None:
        for _ in range(REQUESTS // connections):
            started = perf_counter()
            response = await client.post(route, data=data, files={"image": photo})
            seconds.append(perf_counter() - started)
            response.raise_for_status()

    began = perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    rate = len(seconds) / (perf_counter() - began)
    p95 = quantiles(seconds, n=20)[-1]
    return f"{rate:.1f}", f"{1000 * median(seconds):.0f}", f"{1000 * p95:.0f}"
