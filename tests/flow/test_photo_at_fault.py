"""Of several photos, an error names the one at fault: in every API, and in every client."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from service.cli.app import app as commands
from service.cli.local import in_process
from service.client.aio import AsyncLikeness
from service.client.errors import RejectedPhoto
from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.images import encode, picture

GOOD, BAD = encode(picture(), "PNG"), b"this is no photo"
THRESHOLD = {"threshold": "0.1"}


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[httpx.AsyncBaseTransport]:
    settings = Settings(
        store="sqlite:///:memory:",
        bundle=str(write_bundle(tmp_path / "bundle")),
        detector="none",
        enroll_quality="off",
        compreface=True,
        rekognition=True,
    )
    async with in_process(settings) as transport:
        yield transport


@pytest.fixture
async def client(transport: httpx.AsyncBaseTransport) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        form = {"subject": "ada"}
        assert (await client.post("/enroll", data=form, files={"image": GOOD})).is_success
        yield client


def pair(bad: str, first: str, second: str) -> dict[str, bytes]:
    return {name: BAD if name == bad else GOOD for name in (first, second)}


@pytest.mark.parametrize("bad", ["source_image", "target_image"])
async def test_of_two_photos_the_one_at_fault_is_named(client: httpx.AsyncClient, bad: str) -> None:
    photos = pair(bad, "source_image", "target_image")
    as_text = {name: base64.b64encode(photo).decode() for name, photo in photos.items()}
    for answer in (
        await client.post("/verify", data=THRESHOLD, files=photos),
        await client.post("/verify", json={"threshold": 0.1, **as_text}),
    ):
        problem = answer.json()
        assert problem["errors"] == [{"field": bad, "message": problem["detail"]}]
        assert problem["code"] == "not_an_image"


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/verify", THRESHOLD | {"subject": "ada"}),
        ("/identify", THRESHOLD),
        ("/embed", {}),
        ("/enroll", {"subject": "bob"}),
    ],
)
async def test_of_several_photos_none_of_which_can_be_used_the_first_is_named(
    client: httpx.AsyncClient, path: str, form: dict[str, str]
) -> None:
    answer = await client.post(path, data=form, files=[("image", BAD)] * 2)
    assert [error["field"] for error in answer.json()["errors"]] == ["image.0"]


@pytest.mark.parametrize("bad", ["source_image", "target_image"])
async def test_compreface_clients_read_which_photo_is_at_fault(
    client: httpx.AsyncClient, bad: str
) -> None:
    photos = pair(bad, "source_image", "target_image")
    answer = await client.post("/api/v1/verification/verify", files=photos)
    assert answer.json()["message"].startswith(f"{bad}: ")


@pytest.mark.parametrize("bad", ["SourceImage", "TargetImage"])
async def test_aws_clients_read_which_photo_is_at_fault(
    client: httpx.AsyncClient, bad: str
) -> None:
    photos = pair(bad, "SourceImage", "TargetImage")
    members = {name: {"Bytes": base64.b64encode(each).decode()} for name, each in photos.items()}
    headers = {
        "x-amz-target": "RekognitionService.CompareFaces",
        "content-type": "application/x-amz-json-1.1",
    }
    answer = await client.post("/", headers=headers, content=json.dumps(members))
    assert answer.json()["Message"].startswith(f"{bad}: ")


@pytest.mark.parametrize("at", [0, 1])
async def test_the_python_client_says_which_photo_is_at_fault(
    transport: httpx.AsyncBaseTransport, at: int
) -> None:
    photos = [BAD if place == at else GOOD for place in range(2)]
    async with AsyncLikeness("http://localhost", transport=transport) as likeness:
        with pytest.raises(RejectedPhoto) as refused:
            await likeness.verify_pair(photos[0], photos[1], threshold=0.1)
    named = ["source_image", "target_image"][at]
    assert refused.value.problem.photos == [named]
    assert str(refused.value).startswith(f"{named}: ")


@pytest.mark.parametrize("bad", ["a.png", "b.png"])
def test_the_command_line_names_the_file_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.setenv("LIKENESS_DETECTOR", "none")
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for file in files:
        file.write_bytes(BAD if file.name == bad else GOOD)
    refused = CliRunner().invoke(commands, ["verify", *map(str, files)])
    assert f"{tmp_path / bad}: " in refused.stderr
