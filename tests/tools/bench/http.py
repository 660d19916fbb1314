"""Measure the service over HTTP: closed loop, open loop, overloaded and disturbed."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from models.bundle import load_bundle
from models.encoder import EngineName
from service.client import Likeness
from tests.photos import photo_bytes
from tests.server import RunningServer, running_server
from tests.tools.bench.bodies import MULTIPART, cycle, disturbed, multipart, photos
from tests.tools.bench.load import Load, Target, closed_loop, open_loop
from tests.tools.bench.machine import markdown
from tests.tools.bench.stages import SIZES, before_encoder, engines_of, forward_alone

CONNECTIONS = (1, 4, 16)
SUBJECT = "grace"
# How many different photos of each size are sent. Repeated photos cost the service the same.
DISTINCT = {SIZES[0]: 32, SIZES[1]: 12, SIZES[2]: 6}
STAGES = ("decode", "detect", "align", "queue", "forward")


def tables(folder: Path) -> str:
    """Return all tables, with rows for every engine."""
    forms = {size: photos(*size, count) for size, count in DISTINCT.items()}
    closed: list[tuple[str, ...]] = []
    alone: list[tuple[str, ...]] = []
    open_: list[tuple[str, ...]] = []
    chaos: list[tuple[str, ...]] = []
    for engine in engines_of(load_bundle()):
        with running_server(folder / f"{engine}.db", {"LIKENESS_ENGINE": engine}) as server:
            enrol(server)
            small = forms[SIZES[0]]
            closed += [(engine, *row) for row in asyncio.run(_closed(server, forms))]
            alone.append((engine, *asyncio.run(_alone(server, small, engine))))
            open_ += [(engine, *row) for row in asyncio.run(_open(server, small))]
            chaos.append((engine, *asyncio.run(_chaos(server, small))))
    head = ("engine", "route", "photo", "connections", "requests/s", "p50 ms", "p95 ms", "p99 ms")
    return "\n\n".join(
        (
            markdown("HTTP, closed loop, and the mean of each stage, ms", (*head, *STAGES), closed),
            markdown(
                "One /embed at a time, 0.3 MP",
                ("engine", "p50 ms", "its stages measured alone, ms", "ratio"),
                alone,
            ),
            markdown(
                "HTTP /embed, open loop, 0.3 MP",
                (
                    *("engine", "arrivals/s", "times capacity", "answered/s", "share of peak"),
                    *("p50 ms", "p99 ms", "refused (429)", "p99 to refusal ms", "other"),
                ),
                open_,
            ),
            markdown(
                "1 % cut files and 5 % callers that disconnect, /embed, 8 connections",
                ("engine", "p99 ms without", "p99 ms with", "ratio", "hung", "good photos refused"),
                chaos,
            ),
        )
    )


def enrol(server: RunningServer) -> None:
    """Enrol the subject of the `/verify` requests."""
    with Likeness(server.url) as likeness:
        likeness.enroll(SUBJECT, photo_bytes("grace"))


def embed(server: RunningServer) -> Target:
    return Target(server.url, "/embed", MULTIPART)


async def _closed(
    server: RunningServer, photos_sent: Mapping[tuple[int, int], list[bytes]]
) -> list[tuple[str, ...]]:
    rows = []
    for route, fields in (("/embed", {}), ("/verify", {"subject": SUBJECT})):
        target = Target(server.url, route, MULTIPART)
        for size in SIZES:
            forms = [multipart(photo, **fields) for photo in photos_sent[size]]
            await closed_loop(target, cycle(forms, 4), 1)
            for connections in CONNECTIONS if size == SIZES[0] else (1, 4):
                before = stage_sums(server)
                load = await closed_loop(target, cycle(forms, 64 + 8 * connections), connections)
                after = stage_sums(server)
                megapixels = f"{size[0] * size[1] / 1e6:.1f} MP"
                split = (_mean_ms(before, after, stage) for stage in STAGES)
                times = (f"{load.ms(quantile):.0f}" for quantile in (0.5, 0.95, 0.99))
                rate = f"{load.rate:.1f}"
                rows.append((route, megapixels, str(connections), rate, *times, *split))
    return rows


async def _alone(
    server: RunningServer, photos_sent: list[bytes], engine: EngineName
) -> tuple[str, ...]:
    forms = [multipart(photo) for photo in photos_sent]
    load = await closed_loop(embed(server), cycle(forms, 96), 1)
    parts = sum(before_encoder(photos_sent[0])) + forward_alone(engine)
    return f"{load.ms(0.5):.1f}", f"{parts:.1f}", f"{load.ms(0.5) / parts:.2f}"


async def _open(server: RunningServer, photos_sent: list[bytes]) -> list[tuple[str, ...]]:
    forms = [multipart(photo) for photo in photos_sent]
    peak = (await closed_loop(embed(server), cycle(forms, 320), 16)).rate
    rows: list[tuple[str, ...]] = []
    for times in (0.5, 0.8, 3.0):
        rate = times * peak
        load = await open_loop(embed(server), cycle(forms, round(rate * 10)), rate)
        refused = load.count(429)
        rows.append(
            (
                *(f"{rate:.0f}", f"{times:g}", f"{load.rate:.1f}", f"{load.rate / peak:.2f}"),
                *(f"{load.ms(0.5):.0f}", f"{load.ms(0.99):.0f}", str(refused)),
                *(f"{load.ms(0.99, 429):.0f}" if refused else "-", str(_others(load))),
            )
        )
    return rows


def _others(load: Load) -> int:
    return len(load.replies) - load.count(200) - load.count(429)


async def _chaos(server: RunningServer, photos_sent: list[bytes]) -> tuple[str, ...]:
    forms = [multipart(photo) for photo in photos_sent]
    clean = await closed_loop(embed(server), cycle(forms, 600), 8)
    dirty = await closed_loop(embed(server), disturbed(photos_sent, 600), 8)
    healthy = sum(not reply.body.harmful for reply in dirty.replies)
    return (
        *(f"{clean.ms(0.99):.0f}", f"{dirty.ms(0.99):.0f}"),
        *(f"{dirty.ms(0.99) / clean.ms(0.99):.2f}", str(dirty.hung)),
        str(healthy - dirty.count(200)),
    )


Sums = Mapping[str, tuple[float, float]]


def stage_sums(server: RunningServer) -> Sums:
    """Return the total seconds and the number of passes of every stage."""
    text = httpx.get(f"{server.url}/metrics").text
    samples: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name == "likeness_stage_seconds":
            for sample in family.samples:
                samples.setdefault(sample.labels["stage"], {})[sample.name] = sample.value
    name = "likeness_stage_seconds"
    return {stage: (at[f"{name}_sum"], at[f"{name}_count"]) for stage, at in samples.items()}


def _mean_ms(before: Sums, after: Sums, stage: str) -> str:
    (sum_before, count_before), (sum_after, count_after) = before[stage], after[stage]
    return f"{1000 * (sum_after - sum_before) / max(1, count_after - count_before):.1f}"
