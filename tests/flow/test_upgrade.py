"""A gallery made by the default bundle of yesterday meets the release of today."""

import asyncio
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from models.bundle import BUILTIN_FOLDER, load_bundle, read_manifest
from models.errors import InvalidBundle
from service.cli.app import app
from service.cli.terminal import EXIT_SOME_FAILED
from service.recognition.recogniser import bundle_for
from service.settings import Settings
from service.store import open_store
from tests.contracts.store.samples import template
from tests.in_process import opened
from tests.photos import photo_bytes, reencoded

pytestmark = pytest.mark.dlib

PHOTO = photo_bytes("astronaut")


def fingerprint(name: str) -> str:
    known = read_manifest(BUILTIN_FOLDER / name).fingerprint
    assert known is not None
    return known


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a store that the commands of the test use too; no bundle is set anywhere."""
    url = f"sqlite:///{tmp_path / 'likeness.db'}"
    monkeypatch.setenv("LIKENESS_STORE", url)
    monkeypatch.delenv("LIKENESS_BUNDLE", raising=False)
    return url


async def enroll_yesterday(store: str, *, keep: bool) -> None:
    async with opened(Settings(store=store, bundle="dlib", store_images=keep)) as client:
        for subject in ("ada", "bob"):
            photo = PHOTO if subject == "ada" else photo_bytes("grace")
            form = {"subject": subject}
            response = await client.post("/enroll", data=form, files={"image": photo})
            assert response.status_code == 201, response.text


async def verify(client: httpx.AsyncClient) -> httpx.Response:
    photo = {"image": reencoded("astronaut", side=400)}
    return await client.post("/verify", data={"subject": "ada"}, files=photo)


async def served(client: httpx.AsyncClient) -> str:
    name: str = (await client.get("/model")).json()["name"]
    return name


async def likeness(*words: object) -> Result:
    """Run a command in a thread: it brings an event loop of its own."""
    done = await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])
    assert done.exit_code in (0, EXIT_SOME_FAILED), done.output
    return done


@pytest.mark.parametrize("name", ["sface", "builtin", "dlib"])
def test_the_fingerprint_noted_for_a_built_in_bundle_is_its_own(name: str) -> None:
    assert load_bundle(name).fingerprint == fingerprint(name)


async def test_a_gallery_goes_on_with_the_bundle_that_made_it_and_is_told_of_a_better(
    store: str,
) -> None:
    await enroll_yesterday(store, keep=False)
    async with opened(Settings(store=store)) as client:
        assert (await verify(client)).json()["decision"] == "match"
        card = (await client.get("/model")).json()
    assert card["name"] == "dlib"
    assert "likeness reembed --to sface" in card["chosen_because"]


async def test_an_empty_gallery_gets_the_best_bundle(store: str) -> None:
    async with opened(Settings(store=store)) as client:
        assert await served(client) == "sface"


async def test_another_bundle_named_outright_answers_409_with_the_way_out(store: str) -> None:
    await enroll_yesterday(store, keep=False)
    async with opened(Settings(store=store, bundle="sface")) as client:
        refused = await verify(client)
        lost = await client.post("/identify", files={"image": PHOTO})
    for answer in (refused, lost):
        assert (answer.status_code, answer.json()["code"]) == (409, "fingerprint_mismatch")
        assert "likeness reembed" in answer.json()["detail"]


async def test_kept_photos_bring_a_gallery_over_and_back(store: str) -> None:
    await enroll_yesterday(store, keep=True)
    await likeness("reembed", "--to", "sface")
    await likeness("switch", "--to", "sface")
    async with opened(Settings(store=store)) as client:
        assert await served(client) == "sface"
        assert (await verify(client)).json()["decision"] == "match"
    await likeness("switch", "--to", "dlib")
    async with opened(Settings(store=store)) as client:
        assert await served(client) == "dlib"
        assert (await verify(client)).json()["decision"] == "match"


async def test_photos_that_were_not_kept_are_taken_from_a_folder(
    store: str, tmp_path: Path
) -> None:
    await enroll_yesterday(store, keep=False)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "any name.png").write_bytes(PHOTO)
    missing = tmp_path / "missing.csv"
    done = await likeness("reembed", "--to", "sface", "--photos", photos, "--missing", missing)
    assert "1 embedded" in done.output
    assert "bob" in missing.read_text()
    await likeness("switch", "--to", "sface", "--accept-missing")
    async with opened(Settings(store=store)) as client:
        assert await served(client) == "sface"
        assert (await verify(client)).json()["decision"] == "match"


async def test_a_variable_left_over_after_the_switch_changes_nothing(store: str) -> None:
    await enroll_yesterday(store, keep=True)
    await likeness("reembed", "--to", "sface")
    await likeness("switch", "--to", "sface")
    async with opened(Settings(store=store, next_bundle="sface")) as client:
        assert await served(client) == "sface"
        assert (await verify(client)).json()["decision"] == "match"


async def test_without_the_extra_the_start_says_what_to_install_or_set(store: str) -> None:
    await enroll_yesterday(store, keep=False)
    held = await open_store(store)
    try:
        with pytest.raises(InvalidBundle, match="face-recognition-models") as refused:
            await bundle_for(held, Settings(store=store), available=("sface", "builtin"))
    finally:
        await held.close()
    assert "LIKENESS_BUNDLE=sface" in refused.value.sentence


async def test_a_gallery_of_a_bundle_of_ones_own_asks_for_it(store: str) -> None:
    held = await open_store(store)
    try:
        await held.enroll("ada", [template("a photo")], {})
        with pytest.raises(InvalidBundle, match="set LIKENESS_BUNDLE to its folder"):
            await bundle_for(held, Settings(store=store))
    finally:
        await held.close()
