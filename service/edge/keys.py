"""API keys: create them, check those that requests show, and count requests by key."""

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
from service.store import ApiKey, Vault
from service.store.protocol import Keys
from service.store.vault import signing_use

# The id that finds the key, and its secret of 256 bits.
_FORM = re.compile(r"lk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ACCESS_KEY_ID = re.compile(r"lk_([0-9a-f]{16})")
# The scrypt parameters of earlier releases: 16 MiB and some 50 ms.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_REMEMBERED = 1024
_UNKNOWN_AT_ONCE = 2


def make_key(
    name: str,
    scopes: Iterable[Scope],
    per_s: float | None,
    at_once: int | None,
    now: datetime,
    vault: Vault | None = None,
) -> tuple[ApiKey, str]:
    """Return the record of a new key, and the key itself, which is shown only once.

    With a vault, the key can sign requests, and its record has the secret, sealed. Raises
    NoMasterKey.
    """
    if vault is not None and vault.current is None:
        raise NoMasterKey(
            "The secret of a key that signs is stored sealed, and there is no master key to seal "
            "it; set LIKENESS_MASTER_KEYS_FILE."
        )
    key_id, raw = secrets.token_hex(8), secrets.token_bytes(32)
    secret = _as_text(raw)
    record = ApiKey(
        key_id,
        name,
        tuple(scope for scope in SCOPES if scope in set(scopes)),
        b"",
        _digest(secret),
        per_s,
        at_once,
        now,
        signing=None if vault is None else vault.wrap(raw, signing_use(key_id)),
    )
    return record, f"lk_{key_id}_{secret}"


def signing_pair(key: str) -> tuple[str, str]:
    """Return the two parts of a key with which a client signs: the id that it sends, the secret."""
    form = _FORM.fullmatch(key)
    assert form is not None
    return f"lk_{form[1]}", form[2]


class KeyRing:
    """Check keys against the store; owned by the event loop.

    The store is asked every time, so that each replica sees a new or revoked key at once. Only
    the SHA-256 of the right secrets is remembered.

    A secret is 256 random bits, which cannot be guessed, so its SHA-256 is a safe digest. Keys of
    earlier releases have a salt and a digest by scrypt, which is slow to compute.
    """

    def __init__(self, store: Keys, vault: Vault | None = None) -> None:
        self._store = store
        self.vault = vault or Vault()
        self._right: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()
        self._ever_had_key = False
        # Unknown keys use few of the store's readers; the others stay free for remembered keys.
        self._unknown = asyncio.Semaphore(_UNKNOWN_AT_ONCE)
        # A lock for each key with a slow digest: guesses at it delay no other key.
        self._deriving: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def has_valid_key(self) -> bool:
        """Tell whether there is a valid key."""
        return any(key.revoked_at is None for key in await self._store.keys())

    async def ever_had_key(self) -> bool:
        """Tell whether there has ever been a key, valid or revoked; once true, it stays true."""
        if not self._ever_had_key:
            self._ever_had_key = bool(await self._store.keys())
        return self._ever_had_key

    def remembers(self, shown: str) -> bool:
        """Tell whether this key was right before; it may have been revoked since."""
        form = _FORM.fullmatch(shown)
        return form is not None and self._was_right(form[1], _digest(form[2]))

    async def authenticate(self, shown: str) -> ApiKey:
        """Return the record of a key that was shown. Raises KeyInvalid, StoreUnavailable."""
        form = _FORM.fullmatch(shown)
        if form is None:
            raise _invalid()
        digest = _digest(form[2])
        key = await self._find(form[1], is_known=self._was_right(form[1], digest))
        if key is None or key.revoked_at is not None:
            raise _invalid()
        if not self._is_remembered(key, digest):
            if key.salt:
                async with self._deriving[key.key_id]:
                    given = await asyncio.to_thread(_slow_digest, form[2], key.salt)
            else:
                given = digest
            if not hmac.compare_digest(given, key.digest):
                raise _invalid()
        self._remember(key, digest)
        return key

    async def signer(self, access_key_id: str) -> tuple[ApiKey, str]:
        """Return the record of a key that signs, and its secret.

        Raises KeyInvalid, StoreUnavailable.
        """
        form = _ACCESS_KEY_ID.fullmatch(access_key_id)
        key = None if form is None else await self._find(form[1], is_known=False)
        if key is None or key.revoked_at is not None or key.signing is None:
            raise _invalid()
        return key, _as_text(self.vault.unwrap(key.signing))

    async def _find(self, key_id: str, *, is_known: bool) -> ApiKey | None:
        if is_known:
            return await self._store.key(key_id)
        async with self._unknown:
            return await self._store.key(key_id)

    def _was_right(self, key_id: str, digest: bytes) -> bool:
        remembered = self._right.get(key_id)
        return remembered is not None and hmac.compare_digest(remembered[0], digest)

    def _is_remembered(self, key: ApiKey, digest: bytes) -> bool:
        return self._was_right(key.key_id, digest) and self._right[key.key_id][1] == key.digest

    def _remember(self, key: ApiKey, digest: bytes) -> None:
        self._right[key.key_id] = (digest, key.digest)
        self._right.move_to_end(key.key_id)
        while len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)


def _as_text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _slow_digest(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, dklen=32, maxmem=2**26, **_SCRYPT)


def _invalid() -> KeyInvalid:
    # It does not tell which part of the key is wrong.
    return KeyInvalid("The API key is not valid.")


KEY_USE: Final = "key_use"


@dataclass(slots=True)
class _Allowance:
    """Hold what a key had left at a moment, and how many of its photos are running.

    A photo counts 1, and so does a request without photos. `left` can be below 0.
    """

    left: float
    at: float
    running: int = 0


@dataclass(slots=True)
class KeyUse:
    """Hold how much one request uses of its key's allowance."""

    allowance: _Allowance
    counted: int = 0

    def count(self, photos: int) -> None:
        """Set how much the request uses in all."""
        more = photos - self.counted
        self.allowance.left -= more
        self.allowance.running += more
        self.counted = photos


class KeyLimits:
    """Count photos and requests by key; owned by the event loop of one process.

    The allowance of one second, or of one request if that is more, can be used in one burst. Each
    replica counts for itself. The number of photos is known only once a request is read: it is
    served if the key has an allowance for one photo, and later requests wait for the others.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._allowances: dict[str, _Allowance] = {}

    @contextmanager
    def use(self, key: ApiKey) -> Iterator[KeyUse]:
        """Count one request while it runs. Raises KeyBusy if the key has reached a limit."""
        now = self._clock()
        allowance = self._allowances.setdefault(key.key_id, _Allowance(math.inf, now))
        if key.at_once is not None and allowance.running >= key.at_once:
            raise KeyBusy(
                f"This key has {allowance.running} photos or requests running at the moment, and "
                f"its limit is {key.at_once}."
            )
        if key.per_s is not None:
            gained = (now - allowance.at) * key.per_s
            allowance.left = min(max(1.0, key.per_s), allowance.left + gained)
            allowance.at = now
            if allowance.left < 1:
                raise KeyBusy(
                    f"The limit of this key is {key.per_s:g} photos or requests a second.",
                    retry_after_s=math.ceil((1 - allowance.left) / key.per_s),
                )
        use = KeyUse(allowance)
        use.count(1)
        try:
            yield use
        finally:
            allowance.running -= use.counted


def count_photos(scope: AsgiScope, form: BaseModel) -> None:
    """Count the photos of a request that has been read against its key's limits."""
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
