"""Signing keys need a master key, and are shown once."""

from collections.abc import AsyncIterator

import httpx
import pytest

from service.settings import load_settings
from service.store.master_keys import new_master_key
from tests.checkpoints import write_bundle
from tests.in_process import opened

FORM = {"name": "door", "scopes": ["verify"], "signing": True}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture
async def client(bundle: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(
        store="sqlite:///:memory:", bundle=bundle, master_keys=new_master_key()
    )
    async with opened(settings) as client:
        yield client


async def test_new_signing_key_is_also_a_pair(client: httpx.AsyncClient) -> None:
    answer = await client.post("/keys", json=FORM)
    made = answer.json()
    assert (answer.status_code, made["signing"]) == (201, True)
    assert made["access_key_id"] == f"lk_{made['key_id']}"
    assert made["key"] == f"{made['access_key_id']}_{made['secret_access_key']}"


async def test_new_key_that_does_not_sign_has_no_pair(client: httpx.AsyncClient) -> None:
    made = (await client.post("/keys", json={**FORM, "signing": False})).json()
    assert (made["signing"], made["access_key_id"], made["secret_access_key"]) == (
        False,
        None,
        None,
    )


async def test_list_shows_which_keys_sign_and_no_secret(client: httpx.AsyncClient) -> None:
    made = [
        (await client.post("/keys", json={**FORM, "signing": signing})).json()
        for signing in (True, False)
    ]
    listed = await client.get("/keys")
    assert [key["signing"] for key in listed.json()["items"]] == [True, False]
    assert made[0]["secret_access_key"] not in listed.text


async def test_revoked_key_signs_no_more(client: httpx.AsyncClient) -> None:
    made = (await client.post("/keys", json=FORM)).json()
    revoked = (await client.delete(f"/keys/{made['key_id']}")).json()
    assert revoked["revoked_at"] is not None
    assert not revoked["signing"]


async def test_without_a_master_key_there_is_none_that_signs(bundle: str) -> None:
    async with opened(load_settings(store="sqlite:///:memory:", bundle=bundle)) as client:
        answer = await client.post("/keys", json=FORM)
        assert (answer.status_code, answer.json()["code"]) == (409, "no_master_key")
        assert "LIKENESS_MASTER_KEYS_FILE" in answer.json()["detail"]
        assert (await client.get("/keys")).json()["items"] == []
