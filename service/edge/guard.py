"""Check which key and host a request names, before anything of it is read."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.edge.access import Need, Policy, need_of
from service.edge.admission import Body, BodyLimits, Gate
from service.edge.keys import KEY_USE, KeyLimits, KeyRing
from service.edge.paths import route_of
from service.edge.problems import problem, request_id
from service.errors import (
    AccessError,
    HostNotAllowed,
    KeyForbidden,
    KeyMissing,
    ProxyNotAllowed,
    ServiceError,
)
from service.settings import Settings, is_loopback
from service.store import ApiKey

HEADER = "x-api-key"
_BEARER = "bearer "
_KEY_NEEDED = "This request needs an API key: send it as `Authorization: Bearer` or `x-api-key`."
_NAMES_WITHOUT_KEY = (
    " As long as the service has no keys, a request needs none if it calls this machine "
    "`localhost`, by its address or by a name in LIKENESS_ALLOWED_HOSTS."
)
_UNKNOWN_NAME = (
    "This service works without keys, so it only answers to names that it knows: a foreign web "
    "page can make a name of its own lead here. Add the name that you use to "
    "LIKENESS_ALLOWED_HOSTS."
)
_PASSED_ON = (
    "A proxy passed this request on, and the service works without keys: every client of the "
    "proxy would be let in. Let the service ask for keys, or set LIKENESS_BEHIND_PROXY=true if "
    "the proxy checks its clients."
)
# Few enough that one turn of the event loop takes some milliseconds.
_NEW_CALLERS_A_TURN = 8
KEY_ID, _SCOPES = "key_id", "key_scopes"
_PROXY_HEADERS: Final = frozenset({"forwarded", "via", "x-real-ip"})


class Guard:
    """Refuse requests without the right key.

    On the loopback, a service that never had a key serves every request that calls it by a name
    of the loopback. The first key that is made ends this for good, also if it is revoked later.
    A service that other machines can reach always needs a key, unless the settings say
    `without_keys`. A request that needs no key has to call the service by a name that it knows,
    and must not come through a proxy if the service listens on the loopback.

    A full service refuses requests before it looks at their keys: looking up a key costs the store
    a query, and the store is busy then.
    """

    def __init__(
        self, app: ASGIApp, gate: Gate, settings: Settings, policies: Sequence[Policy]
    ) -> None:
        self._app = app
        self._gate = gate
        self._settings = settings
        self._policies = policies
        self._limits = KeyLimits()
        self._turnstile = Turnstile(_NEW_CALLERS_A_TURN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = getattr(scope["app"].state, "keys", None) if "app" in scope else None
        # Before the keys are opened, the gate refuses whatever needs one.
        if keys is None:
            await self._app(scope, receive, send)
            return
        if not keys.remembers(_shown(Headers(scope=scope)) or ""):
            await self._turnstile.go_through()
        need = need_of(self._policies, scope)
        if need.is_open:
            await self._app(scope, receive, send)
            return
        # A signature can need the body, which is then read here.
        body = Body(receive, send, BodyLimits.of(self._settings, need.photos))
        with ExitStack() as stack:
            try:
                receive = await self._admit(keys, scope, need, body, stack)
            except ServiceError as error:
                # The OpenAPI document is open: it is no secret which routes exist.
                route = route_of(scope)
                if not isinstance(error, AccessError) or route is not None:
                    # The log names routes and no paths.
                    scope["route"] = route
                    await problem(error, request_id(scope))(scope, receive, body.send)
                    return
            await self._app(scope, receive, body.send)

    async def _admit(
        self, keys: KeyRing, scope: Scope, need: Need, body: Body, stack: ExitStack
    ) -> Receive:
        """Return the ASGI callable that reads the body, or raise why the request is refused."""
        headers = Headers(scope=scope)
        if self._settings.without_keys:
            self._refuse_proxy(headers)
            if not self._is_known(headers):
                raise HostNotAllowed(_UNKNOWN_NAME)
            return body.receive
        if need.photos:
            self._gate.check_room()
        receive: Receive = body.receive
        if need.signature is None:
            key = await self._key(keys, headers, need)
            if key is not None:
                scope.setdefault("state", {})[KEY_ID] = key.key_id
                _check_scope(key, need)
        else:
            body.declare(headers)
            key, receive = await self._signer(keys, scope, need, receive)
        if key is not None:
            use = stack.enter_context(self._limits.use(key))
            known = {KEY_ID: key.key_id, _SCOPES: key.scopes, KEY_USE: use}
            scope.setdefault("state", {}).update(known)
        return receive

    async def _key(self, keys: KeyRing, headers: Headers, need: Need) -> ApiKey | None:
        """Return the key that the request shows, None if it needs none."""
        shown = _shown(headers)
        if shown is not None and not (
            need.ignores_foreign_keys and await self._is_open(keys, headers)
        ):
            return await keys.authenticate(shown)
        if shown is None and not await self._is_open(keys, headers):
            is_strange = self._settings.is_loopback and not self._is_known(headers)
            raise KeyMissing(_KEY_NEEDED + _NAMES_WITHOUT_KEY if is_strange else _KEY_NEEDED)
        return None

    async def _signer(
        self, keys: KeyRing, scope: Scope, need: Need, receive: Receive
    ) -> tuple[ApiKey | None, Receive]:
        """Return the key that signed the request, None if none is needed, and how to read the body.

        Until it is checked, a signature is only a claim: it has to name a valid key, and it uses
        no permit and nothing of that key's limits.
        """
        assert need.signature is not None
        # SDKs that sign always sign, also with credentials of another service.
        if await self._is_open(keys, Headers(scope=scope)):
            return None, receive
        signature = need.signature(scope)
        key, secret = await keys.signer(signature.access_key_id)
        _check_scope(key, need)
        return key, await signature.check(secret, receive)

    async def _is_open(self, keys: KeyRing, headers: Headers) -> bool:
        """Tell whether the request needs no key yet.

        Raises ProxyNotAllowed if a proxy passed the request on.
        """
        if not self._settings.is_loopback or await keys.ever_had_key():
            return False
        self._refuse_proxy(headers)
        return self._is_known(headers)

    def _refuse_proxy(self, headers: Headers) -> None:
        """Raise ProxyNotAllowed if a proxy passed on a request that only this machine may send."""
        settings = self._settings
        if settings.is_loopback and not settings.behind_proxy and is_passed_on(headers):
            raise ProxyNotAllowed(_PASSED_ON)

    def _is_known(self, headers: Headers) -> bool:
        """Tell whether the request calls the service by a name that is surely its own."""
        host, settings = host_of(headers.getlist("host")), self._settings
        is_own_address = not settings.is_loopback and is_address(host)
        return is_own_address or is_own_name(host, settings.allowed_hosts)


class Turnstile:
    """Let a few requests of unknown callers begin in each turn of the event loop.

    Otherwise hundreds of requests would begin in one turn, and every running request would wait
    for them. Owned by that loop.
    """

    def __init__(self, each_turn: int) -> None:
        self._each_turn = each_turn
        self._left = each_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_turning = False

    async def go_through(self) -> None:
        """Wait until this request may begin; nothing has to be given back."""
        self._keep_turning()
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _keep_turning(self) -> None:
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_turning = False
        self._left = self._each_turn
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # done if its request was cancelled
                turn.set_result(None)
                self._left -= 1
        if self._left < self._each_turn:
            self._keep_turning()


async def key_id_of(request: Request) -> str | None:
    """Return the id of the request's key, None if it needed none."""
    key_id = request.scope.get("state", {}).get(KEY_ID)
    return key_id if isinstance(key_id, str) else None


async def may_embed(request: Request) -> bool:
    """Tell whether the caller may get the vectors of the photos that it sends."""
    scopes = request.scope.get("state", {}).get(_SCOPES)
    return scopes is None or "embed" in scopes


async def may_name(request: Request) -> bool:
    """Tell whether the caller may see subjects' names, as in answers of `/identify`."""
    scopes = request.scope.get("state", {}).get(_SCOPES)
    return scopes is None or not {"verify", "admin"}.isdisjoint(scopes)


async def may_lower(request: Request) -> bool:
    """Tell whether the caller may set a threshold below all operating points; only admins may."""
    scopes = request.scope.get("state", {}).get(_SCOPES)
    return scopes is not None and "admin" in scopes


By = Annotated[str | None, Depends(key_id_of)]
MayEmbed = Annotated[bool, Depends(may_embed)]
MayLower = Annotated[bool, Depends(may_lower)]
MayName = Annotated[bool, Depends(may_name)]


def _shown(headers: Headers) -> str | None:
    given = headers.get("authorization", "")
    if given.lower().startswith(_BEARER):
        return given[len(_BEARER) :].strip()
    return headers.get(HEADER)


def _check_scope(key: ApiKey, need: Need) -> None:
    if need.scope is not None and need.scope not in key.scopes:
        raise KeyForbidden(need.scope)


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address; unlike a name, it cannot be made to lead elsewhere."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def host_of(headers: Iterable[str]) -> str:
    """Return the host of the only Host header, without the port; empty if there is none."""
    try:
        (header,) = headers
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
    return host.removesuffix(".")


def is_own_name(host: str, allowed: Collection[str] = ()) -> bool:
    """Tell whether a host is a name of the loopback or one that is allowed; `*` allows all.

    Any web page can let its own name lead to the loopback of a visitor; the browser then takes
    the page and the service for one origin, but still sends the page's name as the host.
    Browsers resolve names that end in `localhost` to the loopback themselves (RFC 6761).
    """
    return is_loopback(host) or host.endswith(".localhost") or host in allowed or "*" in allowed


def is_passed_on(names: Iterable[str]) -> bool:
    """Tell from the names of a request's headers, in lower case, whether a proxy passed it on."""
    return any(name in _PROXY_HEADERS or name.startswith("x-forwarded-") for name in names)
