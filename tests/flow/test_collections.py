"""The native routes see the default collection, whatever the named ones hold."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.settings import Settings
from service.store import open_store
from tests.contracts.store.samples import template
from tests.in_process import opened
from tests.photos import photo_bytes

PHOTO = {"image": photo_bytes("astronaut")}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a store with nobody in the default collection, and one in a named one."""
    url = f"sqlite:///{tmp_path / 'likeness.db'}"
    store = await open_store(url)
    await store.create_collection("staff")
    await store.enroll("ada", [template("one")], collection="staff")
    await store.close()
    async with opened(Settings(store=url, bundle="sface")) as client:
        yield client


async def test_identify_is_not_troubled_by_what_it_does_not_search(
    client: httpx.AsyncClient,
) -> None:
    answer = (await client.post("/identify", files=PHOTO)).json()
    assert (answer["outcome"], answer["gallery"]) == ("unknown", 0)


async def test_subject_of_a_named_collection_is_not_listed_and_its_name_is_taken(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/subjects")).json()["items"] == []
    answer = await client.post("/enroll", data={"subject": "ada"}, files=PHOTO)
    assert (answer.status_code, answer.json()["code"]) == (409, "subject_elsewhere")


async def test_subject_of_a_named_collection_can_be_exported_and_erased(
    client: httpx.AsyncClient,
) -> None:
    exported = (await client.get("/subjects/ada/export")).json()
    assert len(exported["templates"]) == 1
    assert (await client.delete("/subjects/ada")).json()["templates"] == 1
