"""A template stays until a moment: one that lies ahead, and after which its subject is gone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest

from service.cli.local import in_process
from service.client.aio import AsyncLikeness
from service.client.errors import Invalid
from service.settings import Settings
from tests.contracts.store.inside import run
from tests.photos import photo_bytes

PHOTO = photo_bytes("astronaut")


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'likeness.db'}"


@pytest.fixture
async def app(store: str) -> AsyncIterator[httpx.AsyncBaseTransport]:
    async with in_process(Settings(store=store, bundle="sface", compreface=True)) as transport:
        yield transport


@pytest.fixture
async def client(app: httpx.AsyncBaseTransport) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=app, base_url="http://localhost") as client:
        yield client


async def enroll(client: httpx.AsyncClient, expires_at: str | None = None) -> httpx.Response:
    form = {"subject": "ada"} | ({} if expires_at is None else {"expires_at": expires_at})
    return await client.post("/enroll", data=form, files={"image": PHOTO})


def hours_ahead(hours: float, zone: timezone = UTC) -> str:
    return (datetime.now(zone) + timedelta(hours=hours)).isoformat()


async def test_a_moment_that_is_none_or_has_passed_is_refused_and_a_held_photo_stays(
    client: httpx.AsyncClient, app: httpx.AsyncBaseTransport
) -> None:
    assert (await enroll(client)).status_code == 201
    for moment in (
        "2000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        hours_ahead(-1, timezone(timedelta(hours=14))),
        "2130-01-01T00:00:00",
        "2130-01-01",
        "2130-01-01T00:00:00 02:00",
        "2130-13-01T00:00:00Z",
        "12130-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "1893456000",
        "tomorrow",
    ):
        refused = await enroll(client, moment)
        assert (moment, refused.status_code) == (moment, 422)
        assert refused.json()["code"] == "invalid_request"
        assert [error["field"] for error in refused.json()["errors"]] == ["expires_at"]
    async with AsyncLikeness("http://localhost", transport=app) as likeness:
        for naive_or_passed in (datetime(2130, 1, 1), datetime.now(UTC)):
            with pytest.raises(Invalid, match="expires_at"):
                await likeness.enroll("ada", PHOTO, expires_at=naive_or_passed)
    (held,) = (await client.get("/subjects/ada")).json()["templates"]
    assert held["expires_at"] is None


async def test_a_moment_ahead_is_taken_in_any_zone(client: httpx.AsyncClient) -> None:
    zone = timezone(timedelta(hours=-12))
    for moment in (hours_ahead(1), hours_ahead(1, zone), "9999-12-31T23:59:59Z"):
        assert (await enroll(client, moment)).status_code in (200, 201)
        (held,) = (await client.get("/subjects/ada")).json()["templates"]
        assert datetime.fromisoformat(held["expires_at"]) == datetime.fromisoformat(moment)


async def test_subject_whose_templates_have_all_expired_counts_as_deleted(
    client: httpx.AsyncClient, store: str
) -> None:
    assert (await enroll(client, hours_ahead(1))).status_code == 201
    run(store, "UPDATE templates SET expires_at = '2000-01-01T00:00:00.000000+00:00'")
    photo = {"image": PHOTO}
    verified = await client.post("/verify", data={"subject": "ada"}, files=photo)
    assert (verified.status_code, verified.json()["code"]) == (404, "templates_expired")
    assert (await client.post("/identify", files=photo)).json()["outcome"] == "unknown"
    theirs = await client.post("/api/v1/recognition/recognize", files={"file": PHOTO})
    assert theirs.json()["result"][0]["subjects"] == []
    assert (await enroll(client)).status_code == 201
    again = await client.post("/verify", data={"subject": "ada"}, files=photo)
    assert again.json()["decision"] == "match"
