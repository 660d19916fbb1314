"""API keys: make one, and tell whose a key is that a request shows."""

import asyncio
import base64
import hashlib
import hmac
import math
import re
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from pydantic import BaseModel
from starlette.types import Scope as AsgiScope

from service.errors import KeyBusy, KeyInvalid, NoMasterKey
from service.schemas.requests import SCOPES, Scope
from service.store import ApiKey, Store, Vault
from service.store.vault import to_sign

# An id that finds the key, and a secret of 256 bits that proves it.
_FORM = re.compile(r"lk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ACCESS_KEY_ID = re.compile(r"lk_([0-9a-f]{16})")
# What earlier releases kept: 16 MiB and some 50 ms.
_COST = {"n": 2**14, "r": 8, "p": 1}
_REMEMBERED = 1024
_STRANGERS_AT_ONCE = 2


def make_key(
    name: str,
    scopes: Iterable[Scope],
    per_s: float | None,
    at_once: int | None,
    now: datetime,
    vault: Vault | None = None,
) -> tuple[ApiKey, str]:
    """Return what to keep of a new key, and the key itself, which is shown once.

    With a vault it is a key that can sign, and its secret is kept, wrapped. Raises NoMasterKey.
    """
    if vault is not None and vault.current is None:
        raise NoMasterKey(
            "A key that signs needs its secret kept, sealed by a master key, and there is none; "
            "set LIKENESS_MASTER_KEYS_FILE."
        )
    key_id, raw = secrets.token_hex(8), secrets.token_bytes(32)
    secret = _as_text(raw)
    kept = ApiKey(
        key_id,
        name,
        tuple(scope for scope in SCOPES if scope in set(scopes)),
        b"",
        _digest(secret),
        per_s,
        at_once,
        now,
        signing=None if vault is None else vault.wrap(raw, to_sign(key_id)),
    )
    return kept, f"lk_{key_id}_{secret}"


def signing_pair(key: str) -> tuple[str, str]:
    """Return the access key id and the secret access key, as AWS says, that a key consists of."""
    form = _FORM.fullmatch(key)
    assert form is not None
    return f"lk_{form[1]}", form[2]


class KeyRing:
    """Check keys against the store; owned by the event loop.

    The store is asked each time, so that a key counts from when it was made until it is
    revoked, at every replica. Remembered is only that a secret was right, by its SHA-256.

    Secrets are 256 random bits, which nobody guesses however fast: their SHA-256 is kept. Keys
    of earlier releases have a salt, and a digest by scrypt, which takes long.
    """

    def __init__(self, store: Store, vault: Vault | None = None) -> None:
        self._store = store
        self.vault = vault or Vault()
        self._right: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()
        self._has_been = False
        # Guesses take few of the store's readers, and leave the others to keys that were right.
        self._strangers = asyncio.Semaphore(_STRANGERS_AT_ONCE)
        # Who guesses at such a key keeps one thread busy, and no other key waiting.
        self._deriving: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def any(self) -> bool:
        """Tell whether there is a key that counts."""
        return any(key.revoked_at is None for key in await self._store.keys())

    async def has_been(self) -> bool:
        """Tell whether there ever was a key, revoked or not; once true, it stays true."""
        if not self._has_been:
            self._has_been = bool(await self._store.keys())
        return self._has_been

    def remembers(self, shown: str) -> bool:
        """Tell whether this was a right key before; whether it still counts the store knows."""
        form = _FORM.fullmatch(shown)
        return form is not None and self._was_right(form[1], _digest(form[2]))

    async def holder(self, shown: str) -> ApiKey:
        """Return whose key this is. Raises KeyInvalid, StoreUnavailable."""
        form = _FORM.fullmatch(shown)
        if form is None:
            raise _invalid()
        short = _digest(form[2])
        key = await self._find(form[1], is_stranger=not self._was_right(form[1], short))
        if key is None or key.revoked_at is not None:
            raise _invalid()
        if not self._is_known(key, short):
            if key.salt:
                async with self._deriving[key.key_id]:
                    given = await asyncio.to_thread(_slow_digest, form[2], key.salt)
            else:
                given = short
            if not hmac.compare_digest(given, key.digest):
                raise _invalid()
        self._remember(key, short)
        return key

    async def signer(self, access_key_id: str) -> tuple[ApiKey, str]:
        """Return whose key this is, and the secret that its signatures are made with.

        Raises KeyInvalid, StoreUnavailable.
        """
        form = _ACCESS_KEY_ID.fullmatch(access_key_id)
        key = None if form is None else await self._find(form[1], is_stranger=True)
        if key is None or key.revoked_at is not None or key.signing is None:
            raise _invalid()
        return key, _as_text(self.vault.unwrap(key.signing))

    async def _find(self, key_id: str, *, is_stranger: bool) -> ApiKey | None:
        if not is_stranger:
            return await self._store.key(key_id)
        async with self._strangers:
            return await self._store.key(key_id)

    def _was_right(self, key_id: str, short: bytes) -> bool:
        known = self._right.get(key_id)
        return known is not None and hmac.compare_digest(known[0], short)

    def _is_known(self, key: ApiKey, short: bytes) -> bool:
        return self._was_right(key.key_id, short) and self._right[key.key_id][1] == key.digest

    def _remember(self, key: ApiKey, short: bytes) -> None:
        self._right[key.key_id] = (short, key.digest)
        self._right.move_to_end(key.key_id)
        while len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)


def _as_text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _slow_digest(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, dklen=32, maxmem=2**26, **_COST)


def _invalid() -> KeyInvalid:
    # Not which part of it is wrong.
    return KeyInvalid("The API key is not one that counts here.")


KEY_USE: Final = "key_use"


@dataclass(slots=True)
class _Left:
    """Hold what a key has left as of a moment, less than nothing perhaps, and how many run."""

    left: float
    at: float
    running: int = 0


@dataclass(slots=True)
class KeyUse:
    """Hold how much one request uses of what its key has."""

    of: _Left
    counted: int = 0

    def count(self, requests: int) -> None:
        """Use up so many in all, once it is known how many they are."""
        more = requests - self.counted
        self.of.left -= more
        self.of.running += more
        self.counted = requests


class KeyLimits:
    """Count requests by key; owned by the event loop of one process.

    What a key may in a second may come in one burst, of one at least. Every replica counts its
    own. How many photos a request brings is known once it is read: it is served if the key had
    one left, and what it brings beyond is waited for afterwards.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._left: dict[str, _Left] = {}

    @contextmanager
    def use(self, key: ApiKey) -> Iterator[KeyUse]:
        """Hold the right to one request. Raises KeyBusy at once if there is none now."""
        now = self._clock()
        left = self._left.setdefault(key.key_id, _Left(math.inf, now))
        if key.at_once is not None and left.running >= key.at_once:
            raise KeyBusy(
                f"The key has {left.running} photos and requests without any running; it may have "
                f"{key.at_once}."
            )
        if key.per_s is not None:
            left.left = min(max(1.0, key.per_s), left.left + (now - left.at) * key.per_s)
            left.at = now
            if left.left < 1:
                raise KeyBusy(
                    f"The key may send {key.per_s:g} photos, or requests without any, a second.",
                    retry_after_s=math.ceil((1 - left.left) / key.per_s),
                )
        use = KeyUse(left)
        use.count(1)
        try:
            yield use
        finally:
            left.running -= use.counted


def count_photos(scope: AsgiScope, form: BaseModel) -> None:
    """Let a request that has been read use up one for each photo that it brings."""
    use = scope.get("state", {}).get(KEY_USE)
    if isinstance(use, KeyUse):
        use.count(max(1, _photos(form)))


def _photos(value: object) -> int:
    match value:
        case bytes():
            return 1
        case list():
            return sum(map(_photos, value))
        case BaseModel():
            return sum(_photos(each) for _, each in value)
        case _:
            return 0
