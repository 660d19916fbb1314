"""The store's contract: API keys that sign, with a master key."""

import base64

import pytest

from service.edge.keys import KeyRing, make_key, signing_pair
from service.errors import InvalidSettings, StoreDamaged
from service.store import Store, Vault, open_store
from service.store.vault import WrappedKey, signing_use
from tests.contracts.store.inside import everything, run
from tests.contracts.store.samples import MASTER, OTHER_MASTER, Clock
from tests.contracts.store.seal import opened


async def add_signer(store: Store, clock: Clock) -> tuple[str, str]:
    """Store a new API key that signs; return its access key id and its secret."""
    kept, key = make_key("door", ["verify"], None, None, clock.now, Vault([MASTER]))
    await store.add_key(kept)
    return signing_pair(key)


class SigningContract:
    """Keep signing secrets, encrypted by the master key, until they are revoked."""

    async def test_secret_is_nowhere_in_clear(self, store: Store, url: str, clock: Clock) -> None:
        access_key_id, secret = await add_signer(store, clock)
        raw = everything(url)
        assert access_key_id.removeprefix("lk_").encode() in raw
        assert secret.encode() not in raw
        assert base64.urlsafe_b64decode(f"{secret}=") not in raw

    async def test_secret_moves_to_the_new_master_key(
        self, store: Store, url: str, clock: Clock
    ) -> None:
        access_key_id, secret = await add_signer(store, clock)
        await store.close()
        async with opened(url, OTHER_MASTER, MASTER) as both:
            assert (await both.reseal(10)).rewrapped == 1
        async with opened(url, OTHER_MASTER) as new:
            _, held = await KeyRing(new, Vault([OTHER_MASTER])).signer(access_key_id)
            assert held == secret

    async def test_secrets_that_change_places_sign_for_no_other(
        self, store: Store, url: str, clock: Clock
    ) -> None:
        signers = [await add_signer(store, clock) for _ in range(2)]
        run(url, "CREATE TABLE kept AS SELECT * FROM keys")
        run(
            url,
            "UPDATE keys SET signing_key_id = "
            "(SELECT signing_key_id FROM kept WHERE kept.key_id <> keys.key_id)",
        )
        for access_key_id, _ in signers:
            with pytest.raises(StoreDamaged, match="cannot be decrypted"):
                await KeyRing(store, Vault([MASTER])).signer(access_key_id)

    async def test_secret_of_an_earlier_release_is_bound_when_the_store_is_opened(
        self, store: Store, url: str, clock: Clock
    ) -> None:
        access_key_id, secret = await add_signer(store, clock)
        await store.close()
        ((key_id, master, blob),) = run(url, "SELECT key_id, master, wrapped FROM data_keys")
        use = signing_use(access_key_id.removeprefix("lk_"))
        old = Vault([MASTER]).bind(WrappedKey(key_id, master, blob, use), "")
        run(url, "UPDATE data_keys SET wrapped = ?", old.blob)
        run(url, "INSERT INTO unbound VALUES (?)", key_id)
        async with opened(url, MASTER) as again:
            _, held = await KeyRing(again, Vault([MASTER])).signer(access_key_id)
            assert held == secret
            run(url, "UPDATE data_keys SET wrapped = ?", old.blob)
            with pytest.raises(StoreDamaged):
                await KeyRing(again, Vault([MASTER])).signer(access_key_id)

    async def test_store_that_seals_nothing_but_a_secret_needs_its_master_key(
        self, store: Store, url: str, clock: Clock, vault: Vault
    ) -> None:
        await add_signer(store, clock)
        await store.close()
        with pytest.raises(InvalidSettings, match=rf"encrypted by the master key {vault.current};"):
            await open_store(url, clock)

    async def test_revoking_erases_the_secret_and_no_other(
        self, store: Store, url: str, clock: Clock
    ) -> None:
        one, other = [(await add_signer(store, clock))[0].removeprefix("lk_") for _ in range(2)]
        blobs = []
        for key_id in (one, other):
            key = await store.key(key_id)
            assert key is not None
            assert key.signing is not None
            blobs.append(key.signing.blob)
        assert all(blob in everything(url) for blob in blobs)
        assert await store.revoke_key(one)
        assert [blob in everything(url) for blob in blobs] == [False, True]
        await store.close()
        # A revoked key must neither require its master key nor erase a subject again.
        async with opened(url, MASTER) as again:
            assert [key.signing is not None for key in await again.keys()] == [False, True]
