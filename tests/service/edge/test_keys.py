"""Keys are checked by their secret and the store, and each has its own limits."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import pytest

from service.edge.keys import KeyLimits, KeyRing, make_key, signing_pair
from service.errors import KeyBusy, KeyInvalid, NoMasterKey, StoreUnavailable
from service.store import ApiKey, Store, Vault, open_store, utc_now
from tests.contracts.store.samples import MASTER, OTHER_MASTER


def new_key(per_s: float | None = None, at_once: int | None = None) -> tuple[ApiKey, str]:
    return make_key("web shop", ["verify"], per_s, at_once, utc_now())


def secret_of(shown: str) -> str:
    return shown.split("_", 2)[2]


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = await open_store("sqlite:///:memory:")
    yield store
    await store.close()


async def test_key_is_found_by_what_was_shown_once(store: Store) -> None:
    kept, shown = new_key()
    await store.add_key(kept)
    assert await KeyRing(store).authenticate(shown) == kept


def test_nothing_that_is_kept_shows_the_key() -> None:
    for kept, shown in (new_key(), new_signer()):
        secret = secret_of(shown)
        assert secret not in repr(kept)
        kept_bytes = kept.salt + kept.digest + (b"" if kept.signing is None else kept.signing.blob)
        assert secret.encode() not in kept_bytes
        assert base64.urlsafe_b64decode(f"{secret}=") not in kept_bytes


async def test_wrong_secret_of_a_right_id_does_not_count(store: Store) -> None:
    kept, shown = new_key()
    _, other = new_key()
    await store.add_key(kept)
    ring = KeyRing(store)
    await ring.authenticate(shown)  # is remembered
    with pytest.raises(KeyInvalid):
        await ring.authenticate(f"lk_{kept.key_id}_{secret_of(other)}")


@pytest.mark.parametrize("shown", ["", "lk_", "hunter2", "lk_0123456789abcdef_short", "ü" * 50])
async def test_what_has_not_the_form_of_a_key_does_not_count(store: Store, shown: str) -> None:
    with pytest.raises(KeyInvalid):
        await KeyRing(store).authenticate(shown)


async def test_revoked_key_does_not_count_where_it_was_just_used(store: Store) -> None:
    kept, shown = new_key()
    await store.add_key(kept)
    ring = KeyRing(store)
    await ring.authenticate(shown)
    await store.revoke_key(kept.key_id)
    with pytest.raises(KeyInvalid):
        await ring.authenticate(shown)


def earlier_key() -> tuple[ApiKey, str]:
    """Make a key as earlier releases did: what is kept has a salt."""
    kept, shown = new_key()
    digest = hashlib.scrypt(
        secret_of(shown).encode(), salt=b"salt", dklen=32, maxmem=2**26, n=2**14, r=8, p=1
    )
    return replace(kept, salt=b"salt", digest=digest), shown


async def test_key_of_an_earlier_release_counts_and_is_derived_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, shown = earlier_key()
    await store.add_key(kept)
    ring = KeyRing(store)
    with pytest.raises(KeyInvalid):
        await ring.authenticate(f"lk_{kept.key_id}_{secret_of(new_key()[1])}")
    assert await ring.authenticate(shown) == kept
    monkeypatch.delattr("hashlib.scrypt")
    assert await ring.authenticate(shown) == kept


async def test_guesses_at_one_key_keep_no_other_waiting(store: Store) -> None:
    attacked, others = earlier_key()[0], [earlier_key(), new_key()]
    for kept in (attacked, *(kept for kept, _ in others)):
        await store.add_key(kept)
    ring = KeyRing(store)
    guess = f"lk_{attacked.key_id}_{secret_of(new_key()[1])}"
    guesses = [asyncio.create_task(ring.authenticate(guess)) for _ in range(20)]
    await asyncio.sleep(0)
    for kept, shown in others:
        assert await ring.authenticate(shown) == kept
    assert not guesses[-1].done()
    for task in guesses:
        task.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)


async def test_revoked_key_is_not_valid_but_was_there(store: Store) -> None:
    ring = KeyRing(store)
    assert (await ring.has_valid_key(), await ring.ever_had_key()) == (False, False)
    kept, _ = new_key()
    await store.add_key(kept)
    assert (await ring.has_valid_key(), await ring.ever_had_key()) == (True, True)
    await store.revoke_key(kept.key_id)
    assert (await ring.has_valid_key(), await ring.ever_had_key()) == (False, True)


def new_signer() -> tuple[ApiKey, str]:
    return make_key("door", ["verify"], None, None, utc_now(), Vault([MASTER]))


async def test_key_that_signs_has_one_secret_for_both_ways(store: Store) -> None:
    kept, shown = new_signer()
    await store.add_key(kept)
    ring = KeyRing(store, Vault([MASTER]))
    assert await ring.signer(signing_pair(shown)[0]) == (kept, secret_of(shown))
    assert await ring.authenticate(shown) == kept


async def test_signer_that_does_not_count_is_refused_in_the_same_words(store: Store) -> None:
    signs_not, revoked = new_key()[0], new_signer()[0]
    for kept in (signs_not, revoked):
        await store.add_key(kept)
    await store.revoke_key(revoked.key_id)
    ring, said = KeyRing(store, Vault([MASTER])), set()
    for asked in (f"lk_{signs_not.key_id}", f"lk_{revoked.key_id}", f"lk_{'0' * 16}", "AKIA", ""):
        with pytest.raises(KeyInvalid) as refused:
            await ring.signer(asked)
        said.add(refused.value.sentence)
    assert len(said) == 1


async def test_revoked_signer_does_not_count_where_it_was_just_used(store: Store) -> None:
    kept, shown = new_signer()
    await store.add_key(kept)
    ring = KeyRing(store, Vault([MASTER]))
    await ring.signer(signing_pair(shown)[0])
    await store.revoke_key(kept.key_id)
    with pytest.raises(KeyInvalid):
        await ring.signer(signing_pair(shown)[0])


async def test_secret_under_a_master_key_that_is_not_given_is_no_fault_of_the_caller(
    store: Store,
) -> None:
    kept, shown = new_signer()
    await store.add_key(kept)
    with pytest.raises(StoreUnavailable, match="LIKENESS_MASTER_KEYS"):
        await KeyRing(store, Vault([OTHER_MASTER])).signer(signing_pair(shown)[0])


def test_key_that_signs_needs_a_master_key() -> None:
    with pytest.raises(NoMasterKey, match="LIKENESS_MASTER_KEYS_FILE"):
        make_key("door", ["verify"], None, None, utc_now(), Vault())


class Time:
    """Tell a time that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def allowed(limits: KeyLimits, key: ApiKey, tries: int) -> int:
    """Return how many of some tries, at one moment, are let through."""
    through = 0
    for _ in range(tries):
        try:
            with limits.use(key):
                through += 1
        except KeyBusy:
            continue
    return through


def test_key_has_a_burst_of_a_seconds_worth_and_earns_it_anew() -> None:
    time = Time()
    limits, key = KeyLimits(time), new_key(per_s=4)[0]
    assert allowed(limits, key, 10) == 4
    time.now += 0.5
    assert allowed(limits, key, 10) == 2
    time.now += 3600
    assert allowed(limits, key, 10) == 4


def test_each_photo_of_a_request_counts_and_what_is_beyond_the_limit_is_waited_for() -> None:
    time = Time()
    limits, key = KeyLimits(time), new_key(per_s=4)[0]
    with limits.use(key) as use:
        use.count(9)
    time.now += 1
    with pytest.raises(KeyBusy) as refused, limits.use(key):
        pass
    assert refused.value.retry_after_s == 1
    time.now += 0.5
    assert allowed(limits, key, 10) == 1


def test_photos_count_among_what_runs_at_a_time() -> None:
    limits, key = KeyLimits(), new_key(at_once=3)[0]
    with limits.use(key) as use:
        assert allowed(limits, key, 1) == 1
        use.count(3)
        assert allowed(limits, key, 1) == 0
    assert allowed(limits, key, 1) == 1


def test_slow_key_still_gets_one_request() -> None:
    time = Time()
    limits, key = KeyLimits(time), new_key(per_s=0.1)[0]
    assert allowed(limits, key, 3) == 1
    time.now += 9
    assert allowed(limits, key, 3) == 0
    time.now += 1
    assert allowed(limits, key, 3) == 1


def test_key_has_so_many_requests_at_a_time_whatever_becomes_of_them() -> None:
    limits, key = KeyLimits(), new_key(at_once=1)[0]
    with suppress(ZeroDivisionError), limits.use(key):
        assert allowed(limits, key, 1) == 0
        raise ZeroDivisionError
    assert allowed(limits, key, 1) == 1


def test_keys_do_not_use_up_each_others_limits() -> None:
    limits, one, two = KeyLimits(Time()), new_key(per_s=1)[0], new_key(per_s=1)[0]
    assert [allowed(limits, key, 2) for key in (one, two)] == [1, 1]


def test_key_without_limits_is_let_through_always() -> None:
    limits, key = KeyLimits(Time()), replace(new_key()[0])
    assert allowed(limits, key, 1000) == 1000
