"""What a collector sees of a real request: its span, a child for each stage, and nobody's name."""

import asyncio
import subprocess
import sys
from time import perf_counter

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer

from service.errors import InvalidSettings
from service.observe.traces import (
    add_stage,
    close_exporter,
    open_exporter,
    open_tracer,
    request_span,
)
from service.settings import Settings
from tests.in_process import opened
from tests.otlp import Collected, collector
from tests.photos import photo_bytes
from tests.service.batching import Encoder, batching, crop, occupy, submitted

SUBJECT = "ada-lovelace"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PHOTO = {"image": photo_bytes("grace")}


async def ask() -> None:
    settings = Settings(store="sqlite:///:memory:", bundle="builtin")
    async with opened(settings) as client:
        await client.post("/enroll", data={"subject": SUBJECT}, files=PHOTO)
        traced = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        named = {"subject": SUBJECT}
        await client.post("/verify", params=named, headers=traced, content=PHOTO["image"])
        await client.post("/verify", data=named, files=PHOTO, headers=traced)
        await client.post("/identify", files=PHOTO)
        await client.get(f"/subjects/{SUBJECT}-unknown")


@pytest.fixture(scope="module")
def collected() -> Collected:
    with pytest.MonkeyPatch.context() as patch, collector() as collected:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        asyncio.run(ask())
        return collected


def attributes(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_each_stage_of_a_request_is_a_child_of_its_span(collected: Collected) -> None:
    (verify,) = (
        span
        for span in collected.named("POST /verify")
        if attributes(span)["http.response.status_code"] == 200
    )
    stages = [
        span.name
        for span in sorted(collected.children(verify), key=lambda span: span.start_time_unix_nano)
    ]
    assert stages == ["read", "decode", "detect", "align", "queue", "forward", "store"]


def test_a_search_is_a_stage(collected: Collected) -> None:
    (identify,) = collected.named("POST /identify")
    assert "search" in {span.name for span in collected.children(identify)}


def test_stages_lie_within_their_request(collected: Collected) -> None:
    for request in collected.named("POST /enroll"):
        for stage in collected.children(request):
            assert request.start_time_unix_nano <= stage.start_time_unix_nano + 10**6
            assert stage.end_time_unix_nano <= request.end_time_unix_nano + 10**6


def test_a_request_continues_the_trace_of_its_caller(collected: Collected) -> None:
    for verify in collected.named("POST /verify"):
        assert (verify.trace_id.hex(), verify.parent_span_id.hex()) == (TRACE, CALLER)


def test_a_refusal_is_named_by_its_route_and_problem(collected: Collected) -> None:
    (span,) = collected.named("GET /subjects/{subject}")
    about = attributes(span)
    assert about["likeness.problem"] == "subject_not_found"
    assert about["http.response.status_code"] == 404


def test_no_name_of_a_subject_is_sent(collected: Collected) -> None:
    assert collected.services == {"likeness"}
    assert not any(SUBJECT.encode() in body for body in collected.bodies)


async def test_a_forward_pass_links_to_the_requests_that_shared_it() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer, encoder = provider.get_tracer("likeness"), Encoder()

    async def request(number: int) -> None:
        with request_span(tracer, {}):
            done = await batcher.submit(crop(number))
            add_stage(tracer, "forward", done.started, done.forward_s, done.sharers)

    async with batching(encoder) as batcher:
        alone = await occupy(batcher, encoder)
        tasks = [asyncio.create_task(request(number)) for number in (1, 2)]
        await submitted(batcher)
        encoder.let_go()
        await asyncio.gather(alone, *tasks)
    requests = [span for span in exporter.get_finished_spans() if span.name == "request"]
    forwards = [span for span in exporter.get_finished_spans() if span.name == "forward"]
    assert [dict(span.attributes or {}) for span in forwards] == [{"likeness.batch_size": 2}] * 2
    linked = {
        span.parent.span_id: span.links[0].context.span_id for span in forwards if span.parent
    }
    one, two = (span.context.span_id for span in requests)
    assert linked == {one: two, two: one}


async def test_nothing_is_traced_where_nobody_collects() -> None:
    async with open_tracer(Settings()) as tracer:
        with request_span(tracer, {"traceparent": f"00-{TRACE}-{CALLER}-01"}) as span:
            assert not span.is_recording()
        assert isinstance(tracer, NoOpTracer)


async def test_traces_that_cannot_be_sent_stop_the_start_only_if_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    async with open_tracer(Settings()) as tracer:
        assert isinstance(tracer, NoOpTracer)
    with pytest.raises(InvalidSettings, match="http/protobuf"):
        async with open_tracer(Settings(traces=True)):
            pass


def test_a_collector_that_is_gone_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    provider, exporter = open_exporter()
    tracer = provider.get_tracer("likeness")
    with request_span(tracer, {}):
        add_stage(tracer, "read", perf_counter(), 0.1)
    started = perf_counter()
    close_exporter(provider, exporter, patience_s=0.1)
    # By itself the exporter tries for half a minute.
    assert perf_counter() - started < 15


def test_the_service_does_not_import_what_it_does_not_use() -> None:
    script = "import sys, service.app; print('opentelemetry.sdk' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
