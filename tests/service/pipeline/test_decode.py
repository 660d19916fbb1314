"""A hanging photo is distinguished from many waiting photos, and does not block other requests."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic

import pytest

from models.bundle import BUILTIN_FOLDER, read_manifest
from models.photo.detectors import NoDetector
from models.photo.face import Face
from models.photo.image import Limits, Pixels
from service.errors import DeadlinePassed, DecoderStalled
from service.pipeline.decode import Caller, CropSettings, DecodePool, PreparedCrop
from tests.images import encode, picture
from tests.service.batching import PATIENCE_S

SOON_S = 0.5
PHOTO = encode(picture(), "PNG")


class Gate(NoDetector):
    """Find a face as large as the image, while the gate is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Event()
        self.photos = 0
        self.ends = False
        self.takes_s = 0.0

    def detect(self, pixels: Pixels, at_least: float = 0) -> list[Face]:
        self.photos += 1
        self.begun.set()
        if self.ends:
            raise SystemExit
        assert self.open.wait(PATIENCE_S)
        until = monotonic() + self.takes_s
        while monotonic() < until:
            pass
        return super().detect(pixels, at_least)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def pool(gate: Gate) -> AsyncIterator[DecodePool]:
    framing = read_manifest(BUILTIN_FOLDER / "sface").pixels.framing
    pool = DecodePool(CropSettings(Limits(), framing, 0), lambda: gate, 1, watchdog_s=SOON_S)
    await pool.warm()
    yield pool
    gate.open.set()
    pool.close()


async def test_a_photo_that_hangs_fails_and_so_do_those_behind_it(
    pool: DecodePool, gate: Gate
) -> None:
    gate.open.clear()
    outcomes = await asyncio.gather(
        *(pool.prepare(PHOTO, "single", Caller()) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [DecoderStalled] * 3


async def test_while_a_photo_hangs_the_pool_is_not_alive_and_refuses_photos(
    pool: DecodePool, gate: Gate
) -> None:
    gate.open.clear()
    with pytest.raises(DecoderStalled):
        await pool.prepare(PHOTO, "single", Caller())
    assert not pool.alive
    with pytest.raises(DecoderStalled):
        pool.prepare(PHOTO, "single", Caller()).send(None)  # the event loop does not run meanwhile


async def test_when_a_photo_that_hung_is_done_it_serves_again(pool: DecodePool, gate: Gate) -> None:
    gate.open.clear()
    with pytest.raises(DecoderStalled):
        await pool.prepare(PHOTO, "single", Caller())
    gate.open.set()
    assert (await prepared_at_last(pool)).report.faces == 1


async def prepared_at_last(pool: DecodePool) -> PreparedCrop:
    while True:
        with suppress(DecoderStalled):
            return await pool.prepare(PHOTO, "single", Caller())
        await asyncio.sleep(0)


async def test_waiting_for_long_is_not_hanging(pool: DecodePool, gate: Gate) -> None:
    # Together they take longer than the watchdog allows for one.
    gate.takes_s = SOON_S / 10
    prepared = await asyncio.gather(*(pool.prepare(PHOTO, "single", Caller()) for _ in range(12)))
    assert len(prepared) == 12


async def test_a_photo_is_not_decoded_after_its_deadline(pool: DecodePool, gate: Gate) -> None:
    gate.open.clear()
    first = asyncio.create_task(pool.prepare(PHOTO, "single", Caller()))
    await asyncio.to_thread(gate.begun.wait, PATIENCE_S)
    now = asyncio.get_running_loop().time()
    with pytest.raises(DeadlinePassed):
        await pool.prepare(PHOTO, "single", Caller(deadline=now + SOON_S / 10))
    gate.open.set()
    assert (await first).report.faces == 1
    assert (await pool.prepare(PHOTO, "single", Caller())).report.faces == 1
    assert gate.photos == 2


async def test_a_decoder_that_would_end_the_process_fails_one_photo(
    pool: DecodePool, gate: Gate
) -> None:
    gate.ends = True
    with pytest.raises(RuntimeError):
        await pool.prepare(PHOTO, "single", Caller())
    gate.ends = False
    assert (await pool.prepare(PHOTO, "single", Caller())).report.faces == 1
