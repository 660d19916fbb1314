"""What a request may hold: the photos that are at work, and nothing once it is answered."""

import base64
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.images import encode
from tests.in_process import opened

SIDE = 500
DECODED_BYTES = 3 * SIDE**2
BLANK = Image.new("RGB", (SIDE, SIDE), "grey")
# One is as large as its pixels, the other is not: what holds either of both is seen.
LARGE_FILE, SMALL_FILE = encode(BLANK, "BMP"), encode(BLANK, "PNG")
TINY_FILE = encode(Image.new("RGB", (8, 8)), "PNG")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a service that finds the face of all photos below too small."""
    settings = Settings(
        store="sqlite:///:memory:",
        bundle=str(write_bundle(tmp_path / "bundle")),
        detector="none",
        min_face_px=SIDE + 1,
        decode_threads=1,
        compreface=True,
        rekognition=True,
    )
    async with opened(settings) as client:
        large = encode(Image.new("RGB", (SIDE + 1, SIDE + 1)), "PNG")
        enrolled = {"subject": "grace", "accept_quality": "true"}
        response = await client.post("/enroll", data=enrolled, files={"image": large})
        assert response.status_code == 201
        yield client


def form(url: str, *fields: str, **data: str) -> httpx.Request:
    files = [(field, ("photo.bmp", LARGE_FILE)) for field in fields]
    return httpx.Request("POST", f"http://localhost{url}", data=data, files=files)


def amazon(operation: str, *members: str) -> httpx.Request:
    photo = {"Bytes": base64.b64encode(LARGE_FILE).decode()}
    headers = {
        "x-amz-target": f"RekognitionService.{operation}",
        "content-type": "application/x-amz-json-1.1",
    }
    body = json.dumps(dict.fromkeys(members, photo)).encode()
    return httpx.Request("POST", "http://localhost/", headers=headers, content=body)


REQUESTS: Mapping[str, httpx.Request] = {
    "one": form("/embed", "image"),
    "several": form("/embed", "image", "image"),
    "enrol": form("/enroll", "image", "image", subject="ada"),
    "search": form("/identify", "image", "image"),
    "pair": form("/verify", "source_image", "target_image"),
    "subject": form("/verify", "image", "image", subject="grace"),
    "CompreFace's pair": form("/api/v1/verification/verify", "source_image", "target_image"),
    "CompreFace's search": form("/api/v1/recognition/recognize", "file"),
    "CompreFace's enrolment": form("/api/v1/recognition/faces?subject=ada", "file"),
    "Rekognition's pair": amazon("CompareFaces", "SourceImage", "TargetImage"),
    "Rekognition's detection": amazon("DetectFaces", "Image"),
    "wrong field": form("/verify", "image", "image", subject="grace", nonsense="1"),
}


@contextmanager
def allocations() -> Iterator[None]:
    """Trace memory, with what only a garbage collection would free counted as held."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_nothing_of_a_photo_is_held_once_its_request_is_answered(
    client: httpx.AsyncClient,
) -> None:
    for request in REQUESTS.values():
        await client.send(request)  # what is made once and kept
    with allocations():
        held_bytes = {what: await held_by(client, request) for what, request in REQUESTS.items()}
    assert {what: held for what, held in held_bytes.items() if held > DECODED_BYTES / 5} == {}


async def held_by(client: httpx.AsyncClient, request: httpx.Request) -> int:
    before_bytes, _ = tracemalloc.get_traced_memory()
    response = await client.send(request)
    # The one thread that decodes has let go of the last photo once it has another.
    await client.post("/embed", files={"image": TINY_FILE})
    after_bytes, _ = tracemalloc.get_traced_memory()
    assert response.status_code in (200, 400, 422)
    return after_bytes - before_bytes


async def test_a_request_has_so_many_pixels_decoded_and_the_rest_of_its_photos_are_refused(
    tmp_path: Path,
) -> None:
    settings = Settings(
        store="sqlite:///:memory:",
        bundle=str(write_bundle(tmp_path / "bundle")),
        detector="none",
        decode_threads=1,
        max_request_pixels=2 * SIDE**2,
    )
    async with opened(settings) as client:
        photos = [("image", SMALL_FILE)] * 3
        answers = [await client.post("/embed", files=photos) for _ in range(2)]
        searched = await client.post("/identify", data={"threshold": "0.1"}, files=photos)
    for answer in answers:
        problems = [image["problem"] for image in answer.json()["images"]]
        assert [each and each["code"] for each in problems] == [None, None, "pixel_budget_spent"]
    assert (searched.status_code, searched.json()["code"]) == (422, "pixel_budget_spent")


def test_32_photos_of_12_megapixels_are_within_the_budget_of_a_request() -> None:
    usual = Settings()
    assert usual.max_images * 4032 * 3024 <= usual.max_request_pixels


async def test_photos_that_fail_take_no_more_memory_than_those_at_work(
    client: httpx.AsyncClient,
) -> None:
    photos = [("image", ("photo.png", SMALL_FILE))] * 8
    with allocations():
        response = await client.post("/embed", files=photos)
        _, peak_bytes = tracemalloc.get_traced_memory()
    assert response.json()["code"] == "face_too_small"
    assert peak_bytes < 4 * DECODED_BYTES
