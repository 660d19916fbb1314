"""The store's contract: API keys."""

from dataclasses import replace
from datetime import timedelta

from service.store import ApiKey, Store, Vault
from service.store.vault import signing_use
from tests.contracts.store.samples import MASTER, Clock


def key(key_id: str, clock: Clock) -> ApiKey:
    return ApiKey(
        key_id, "web shop", ("verify", "enroll"), b"\0salt", b"\0digest", 2.5, 4, clock.now
    )


class KeyContract:
    """Keep API keys by a digest of their secret."""

    async def test_key_is_kept_as_it_was_given(self, store: Store, clock: Clock) -> None:
        given = key("one", clock)
        await store.add_key(given)
        assert await store.key("one") == given

    async def test_key_without_limits_has_none(self, store: Store, clock: Clock) -> None:
        given = replace(key("one", clock), per_s=None, at_once=None)
        await store.add_key(given)
        assert await store.key("one") == given

    async def test_key_that_signs_is_kept_with_its_secret_wrapped(
        self, store: Store, clock: Clock
    ) -> None:
        given = replace(
            key("one", clock), signing=Vault([MASTER]).wrap(bytes(32), signing_use("one"))
        )
        await store.add_key(given)
        assert await store.key("one") == given
        assert await store.keys() == [given]

    async def test_unknown_key_is_none(self, store: Store) -> None:
        assert await store.key("one") is None

    async def test_keys_are_listed_oldest_first(self, store: Store, clock: Clock) -> None:
        for key_id in ("b", "a"):
            await store.add_key(key(key_id, clock))
        assert [each.key_id for each in await store.keys()] == ["b", "a"]

    async def test_revoked_key_keeps_its_first_moment(self, store: Store, clock: Clock) -> None:
        await store.add_key(key("one", clock))
        revoked = clock.now = clock.now + timedelta(hours=1)
        assert await store.revoke_key("one")
        clock.now += timedelta(hours=1)
        assert await store.revoke_key("one")
        kept = await store.key("one")
        assert kept is not None
        assert kept.revoked_at == revoked

    async def test_unknown_key_cannot_be_revoked(self, store: Store) -> None:
        assert not await store.revoke_key("one")
