"""No caller's threshold is laxer than every operating point, but for an administrator's."""

import base64
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.in_process import client_of
from tests.photos import photo_bytes

GRACE, EILEEN = photo_bytes("grace"), photo_bytes("astronaut")
PAIR = {"source_image": GRACE, "target_image": EILEEN}
JPEG = {"content-type": "image/jpeg"}


def base64_of(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


@pytest.fixture(params=["sface", "builtin"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(store="sqlite:///:memory:", bundle=request.param, rekognition=True))
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


async def floor_of(client: httpx.AsyncClient) -> float:
    points = (await client.get("/model")).json()["operating_points"]
    return float(min(point["threshold"] for point in points))


async def rekognition(client: httpx.AsyncClient, operation: str, **members: Any) -> httpx.Response:
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": f"RekognitionService.{operation}",
    }
    return await client.post("/", json=members, headers=headers)


async def test_threshold_below_every_operating_point_is_refused_with_the_least_there_is(
    client: httpx.AsyncClient,
) -> None:
    floor = await floor_of(client)
    in_json = {name: base64_of(photo) for name, photo in PAIR.items()}
    for threshold in (-1.0, -2.0, floor - 1e-4):
        refused = [
            await client.post("/verify", data={"threshold": str(threshold)}, files=PAIR),
            await client.post("/verify", json=in_json | {"threshold": threshold}),
            await client.post(
                "/identify", data={"threshold": str(threshold)}, files=[("image", GRACE)]
            ),
            await client.post(f"/identify?threshold={threshold}", content=GRACE, headers=JPEG),
        ]
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (422, "threshold_too_low")
    (least,) = re.findall(r"Below (-?\d+\.\d+),", refused[0].json()["detail"])
    assert 0 <= float(least) - floor < 1e-4
    taken = await client.post("/verify", data={"threshold": least}, files=PAIR)
    assert (taken.status_code, taken.json()["verified"]) == (200, False)
    for number in ("nan", "inf", "-inf"):
        answer = await client.post("/verify", data={"threshold": number}, files=PAIR)
        assert answer.json()["code"] == "invalid_request"


async def test_rekognition_has_the_same_floor_and_its_default_goes_no_lower(
    client: httpx.AsyncClient,
) -> None:
    photos = {
        "SourceImage": {"Bytes": base64_of(GRACE)},
        "TargetImage": {"Bytes": base64_of(EILEEN)},
    }
    await rekognition(client, "CreateCollection", CollectionId="staff")
    image = {"Image": {"Bytes": base64_of(GRACE)}, "CollectionId": "staff"}
    indexed = (await rekognition(client, "IndexFaces", **image)).json()
    face = {"CollectionId": "staff", "FaceId": indexed["FaceRecords"][0]["Face"]["FaceId"]}
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("CompareFaces", "SimilarityThreshold", photos),
        ("SearchFacesByImage", "FaceMatchThreshold", image),
        ("SearchFaces", "FaceMatchThreshold", face),
    ]
    for operation, member, members in asked:
        refused = await rekognition(client, operation, **members, **{member: 0})
        assert (refused.status_code, refused.json()["__type"]) == (400, "InvalidParameterException")
        (least,) = re.findall(rf"{member}: Below (\d+\.\d+),", refused.json()["Message"])
        for given in ({}, {member: float(least)}):
            taken = await rekognition(client, operation, **members, **given)
            assert taken.status_code == 200, taken.text
        found = taken.json()["FaceMatches"]
        assert all(each["Similarity"] >= float(least) - 0.01 for each in found)
    await rekognition(client, "DeleteCollection", CollectionId="staff")


async def test_key_of_an_administrator_may_go_below(client: httpx.AsyncClient) -> None:
    fields = {"threshold": "-1"}
    shown: dict[str, str] = {}
    for scopes, allowed in ((["admin", "verify"], True), (["verify"], False)):
        form = {"name": "x", "scopes": scopes}
        made = (await client.post("/keys", json=form, headers=shown)).json()
        key = {"x-api-key": made["key"]}
        shown = shown or key
        answer = await client.post("/verify", data=fields, files=PAIR, headers=key)
        assert answer.json().get("code") == (None if allowed else "threshold_too_low")
