"""Another bundle takes over a gallery: both enrol, one decides, nobody is lost on the way."""

import asyncio
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from models.bundle import load_bundle
from models.datasets.tables import read_rejected
from service.cli.app import EXIT_ERROR, app
from service.settings import Settings
from tests.in_process import opened
from tests.photos import photo_bytes, reencoded
from tests.postgres import Cluster
from tests.server import running_server

OLD, NEW = "builtin", "sface"
PHOTO = photo_bytes("astronaut")


@pytest.fixture(scope="module")
def old() -> str:
    return load_bundle(OLD).fingerprint


@pytest.fixture(scope="module")
def new() -> str:
    return load_bundle(NEW).fingerprint


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a store, which the commands of the test use too, with the old bundle."""
    url = f"sqlite:///{tmp_path / 'likeness.db'}"
    monkeypatch.setenv("LIKENESS_STORE", url)
    monkeypatch.setenv("LIKENESS_BUNDLE", OLD)
    return url


def settings(store: str, *, next_bundle: str | None = None, keep: bool = False) -> Settings:
    return Settings(store=store, bundle=OLD, next_bundle=next_bundle, store_images=keep)


async def enroll(client: httpx.AsyncClient, subject: str, photo: bytes = PHOTO) -> None:
    response = await client.post("/enroll", data={"subject": subject}, files={"image": photo})
    assert response.status_code == 201, response.text


async def verify(client: httpx.AsyncClient, subject: str) -> dict[str, object]:
    photo = {"image": reencoded("astronaut", side=400)}
    response = await client.post("/verify", data={"subject": subject}, files=photo)
    body: dict[str, object] = response.json()
    return body


async def fingerprints(client: httpx.AsyncClient, subject: str) -> set[str]:
    templates = (await client.get(f"/subjects/{subject}")).json()["templates"]
    return {each["fingerprint"] for each in templates}


async def likeness(*words: object) -> Result:
    """Run a command in a thread: it brings an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])


async def test_old_bundle_decides_and_both_enrol_until_the_switch(
    store: str, old: str, new: str
) -> None:
    async with opened(settings(store, next_bundle=NEW)) as client:
        await enroll(client, "ada")
        assert await fingerprints(client, "ada") == {old, new}
        assert (await verify(client, "ada"))["fingerprint"] == old
        await client.post("/change/switch", json={"fingerprint": new})
        assert (await verify(client, "ada"))["fingerprint"] == new
        assert (await client.get("/model")).json()["fingerprint"] == new
        identified = await client.post("/identify", files={"image": PHOTO})
        assert identified.json()["candidates"][0]["subject"] == "ada"


async def test_switch_back_finds_who_was_enrolled_after_the_switch(store: str, old: str) -> None:
    async with opened(settings(store, next_bundle=NEW)) as client:
        change = (await client.get("/change")).json()
        await client.post("/change/switch", json={"fingerprint": change["other"]})
        await enroll(client, "bob")
        back = await client.post("/change/switch", json={"fingerprint": old})
        assert (back.status_code, back.json()["lacking"]) == (200, 0)
        assert (await verify(client, "bob"))["verified"] is True


async def test_kept_photos_are_embedded_anew_by_the_command(
    store: str, new: str, tmp_path: Path
) -> None:
    async with opened(settings(store, keep=True)) as client:
        for number in range(3):
            await enroll(client, f"s{number}", reencoded("astronaut", side=300 + number))
    missing = tmp_path / "missing.csv"
    first = await likeness("reembed", "--to", NEW, "--missing", missing)
    again = await likeness("reembed", "--to", NEW, "--missing", missing)
    assert "3 embedded" in first.output
    assert "0 embedded" in again.output
    assert not missing.exists()
    switched = await likeness("switch", "--to", NEW)
    assert switched.exit_code == 0, switched.output
    async with opened(settings(store, next_bundle=NEW)) as client:
        assert (await verify(client, "s1"))["fingerprint"] == new


async def test_photos_that_were_not_kept_come_from_a_folder_or_are_listed(
    store: str, tmp_path: Path
) -> None:
    photos = tmp_path / "photos" / "below"
    photos.mkdir(parents=True)
    (photos / "ada.jpg").write_bytes(PHOTO)
    async with opened(settings(store)) as client:
        await enroll(client, "ada")
        await enroll(client, "bob", photo_bytes("grace"))
    missing = tmp_path / "missing.csv"
    words = ("--photos", photos.parent, "--missing", missing)
    result = await likeness("reembed", "--to", NEW, *words)
    assert "1 embedded" in result.output
    (row,) = read_rejected(missing)
    assert (row.path.partition("/")[0], row.code) == ("bob", "photo_needed")


async def test_switch_that_would_lose_somebody_is_refused_unless_accepted(store: str) -> None:
    async with opened(settings(store)) as client:
        await enroll(client, "ada")
    refused = await likeness("switch", "--to", NEW)
    assert (refused.exit_code, "lacks 1 templates" in refused.output) == (EXIT_ERROR, True)
    accepted = await likeness("switch", "--to", NEW, "--accept-missing")
    assert accepted.exit_code == 0, accepted.output
    async with opened(settings(store, next_bundle=NEW)) as client:
        assert (await verify(client, "ada"))["code"] == "fingerprint_mismatch"


async def test_only_the_photo_a_template_was_made_of_is_taken(store: str) -> None:
    async with opened(settings(store)) as client:
        await enroll(client, "ada")
    async with opened(settings(store, next_bundle=NEW)) as client:
        (template,) = (await client.get("/change/lacking")).json()["items"]
        names = {"subject": "ada", "template_id": template["template_id"]}
        without = await client.post("/change/reembed", json=names)
        other = await client.post(
            "/change/reembed", data=names, files={"image": photo_bytes("grace")}
        )
        right = await client.post("/change/reembed", data=names, files={"image": PHOTO})
    codes = [without.json()["code"], other.json()["code"], right.json()["created"]]
    assert codes == ["photo_needed", "other_photo", True]


async def test_forgotten_bundle_leaves_no_template(store: str, old: str, new: str) -> None:
    async with opened(settings(store, next_bundle=NEW)) as client:
        await enroll(client, "ada")
        serving = await client.post("/change/forget", json={"fingerprint": old})
        assert serving.json()["code"] == "no_change"
        await client.post("/change/switch", json={"fingerprint": new})
    result = await likeness("forget", "--bundle", OLD)
    assert result.exit_code == EXIT_ERROR  # this process serves the old one alone
    async with opened(settings(store, next_bundle=NEW)) as client:
        forgotten = await client.post("/change/forget", json={"fingerprint": old})
        assert (forgotten.json()["subjects"], forgotten.json()["templates"]) == (0, 1)
        assert await fingerprints(client, "ada") == {new}


async def test_service_of_one_bundle_has_no_change(store: str) -> None:
    async with opened(settings(store)) as client:
        response = await client.get("/change")
    assert (response.status_code, response.json()["code"]) == (409, "no_change")


async def test_next_bundle_that_is_the_served_one_stops_the_start(store: str) -> None:
    result = await likeness("reembed", "--to", OLD)
    assert (result.exit_code, "is served" in result.output) == (EXIT_ERROR, True)


async def test_exported_photo_is_the_one_that_was_kept(store: str) -> None:
    async with opened(settings(store, keep=True)) as client:
        await enroll(client, "ada")
        (photo,) = (await client.get("/subjects/ada/export")).json()["photos"]
    assert b64decode(photo["photo"]) == PHOTO


@pytest.fixture
def replicas(cluster: Cluster) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    words = {"LIKENESS_BUNDLE": OLD, "LIKENESS_NEXT_BUNDLE": NEW}
    store = cluster.new_database()
    with ExitStack() as stack:
        servers = [stack.enter_context(running_server(store, words)) for _ in range(2)]
        one, two = (stack.enter_context(server.client()) for server in servers)
        yield one, two


def test_switch_at_one_replica_holds_at_the_other_at_once(
    replicas: tuple[httpx.Client, httpx.Client], old: str, new: str
) -> None:
    one, two = replicas
    one.post("/enroll", data={"subject": "ada"}, files={"image": PHOTO})
    for fingerprint in (new, old, new):
        one.post("/change/switch", json={"fingerprint": fingerprint})
        answer = two.post("/verify", data={"subject": "ada"}, files={"image": PHOTO}).json()
        assert (answer["fingerprint"], answer["verified"]) == (fingerprint, True)
