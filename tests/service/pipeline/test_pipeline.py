"""From photos to probes: a bad photo fails alone, and a cancelled request computes nothing."""

import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from models.bundle import BUILTIN_FOLDER, read_manifest
from models.decision import Template
from models.embedder import Row
from models.errors import NoFace, NotAnImage
from models.photo.detectors import DetectorSource
from models.photo.image import Limits
from service.observe.metrics import Metrics, QueueMetrics
from service.pipeline.batcher import Batcher, Crop
from service.pipeline.decode import Caller, CropSettings, DecodePool
from service.pipeline.pipeline import Pipeline, Probe
from tests.images import encode, picture
from tests.photos import group_photo, photo_bytes

PAIR = {"good": photo_bytes("grace"), "bad": b"text"}


@dataclass
class Encoder:
    """Return the same row for every crop, count passes, and wait while the gate is shut."""

    gate: threading.Event = field(default_factory=threading.Event)
    crops: int = 0

    def __call__(self, crops: Sequence[Crop]) -> list[Row]:
        self.gate.wait()
        self.crops += len(crops)
        row = np.array([1, 0], np.float32)
        return [Row(row, row) for _ in crops]


@pytest.fixture
def encoder() -> Encoder:
    encoder = Encoder()
    encoder.gate.set()
    return encoder


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def pipeline(encoder: Encoder, metrics: Metrics) -> AsyncIterator[Pipeline]:
    framing = read_manifest(BUILTIN_FOLDER / "sface").pixels.framing
    pool = DecodePool(
        CropSettings(Limits(), framing, min_face_px=32), DetectorSource("yunet").open, 2
    )
    batcher: Batcher[Row] = Batcher(encoder, observer=QueueMetrics(metrics))
    yield Pipeline(pool, batcher, lambda row: Template(row.vector, "fingerprint"), metrics, width=2)
    encoder.gate.set()
    await batcher.close()
    pool.close()


async def test_a_photo_becomes_a_template_of_the_bundle(pipeline: Pipeline) -> None:
    probe = await pipeline.probe(photo_bytes("grace"), "single", Caller())
    assert probe.template.fingerprint == "fingerprint"


async def test_an_unusable_photo_harms_no_other(pipeline: Pipeline) -> None:
    photos = [photo_bytes("grace"), b"text", encode(picture(), "PNG"), photo_bytes("astronaut")]
    kinds = [type(p) for p in await pipeline.probe_each(photos, "single", Caller())]
    assert kinds == [Probe, NotAnImage, NoFace, Probe]


async def test_many_photos_keep_their_order(pipeline: Pipeline) -> None:
    photos = [photo_bytes("grace"), photo_bytes("astronaut")] * 3
    probes = await pipeline.probe_each(photos, "single", Caller())
    heights = [p.report.image_height for p in probes if isinstance(p, Probe)]
    assert heights == [600, 512] * 3


async def test_when_one_of_two_photos_fails_its_error_is_raised(pipeline: Pipeline) -> None:
    with pytest.raises(NotAnImage):
        await pipeline.probe_both(PAIR, "single", Caller())


async def test_when_one_of_two_photos_fails_the_other_is_not_waited_for(
    pipeline: Pipeline, encoder: Encoder
) -> None:
    encoder.gate.clear()  # the good photo would wait for ever
    with pytest.raises(NotAnImage):
        await pipeline.probe_both(PAIR, "single", Caller())


async def test_a_photo_without_a_face_never_reaches_the_encoder(
    pipeline: Pipeline, encoder: Encoder
) -> None:
    with pytest.raises(NoFace):
        await pipeline.probe(encode(picture(), "PNG"), "single", Caller())
    assert encoder.crops == 0


async def test_every_face_of_a_photo_is_embedded(
    pipeline: Pipeline, encoder: Encoder, metrics: Metrics
) -> None:
    first, second = await pipeline.probe_all(group_photo(), most=5, caller=Caller())
    assert first.report.box.area > second.report.box.area
    assert encoder.crops == 2
    counted = metrics.render().decode()
    assert 'likeness_stage_seconds_count{stage="decode"} 1.0' in counted
    assert 'likeness_stage_seconds_count{stage="forward"} 2.0' in counted
    assert "likeness_faces_found_count 1.0" in counted


async def test_no_more_faces_are_embedded_than_asked_for(
    pipeline: Pipeline, encoder: Encoder
) -> None:
    await pipeline.probe_all(group_photo(), most=1, caller=Caller())
    assert encoder.crops == 1


async def test_photo_without_a_person_has_no_faces(pipeline: Pipeline) -> None:
    with pytest.raises(NoFace):
        await pipeline.probe_all(encode(picture(), "PNG"), most=5, caller=Caller())
