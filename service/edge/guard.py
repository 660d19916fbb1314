"""Ask who calls before anything is read: the right key for the right route."""

from contextlib import ExitStack
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.compat.compreface.paths import is_ours as is_compreface
from service.compat.compreface.paths import scope_of as compreface_scope
from service.compat.rekognition.signed_body import proved, signature_of
from service.compat.rekognition.targets import operation_of
from service.compat.rekognition.targets import scope_of as rekognition_scope
from service.edge.admission import ALWAYS_OPEN, Body, BodyLimits, Gate, takes_photos
from service.edge.keys import KEY_USE, KeyLimits
from service.edge.paths import route_of
from service.edge.problems import problem, request_id
from service.edge.turnstile import Turnstile
from service.edge.unverified import Unverified
from service.errors import (
    AccessError,
    HostNotAllowed,
    KeyForbidden,
    KeyMissing,
    ProxyNotAllowed,
    ServiceError,
)
from service.recognition.service import Service
from service.schemas.requests import Scope as KeyScope
from service.settings import Settings, host_of, is_address, is_own_name, is_passed_on
from service.store import ApiKey

HEADER = "x-api-key"
_BEARER = "bearer "
_NEEDED = "An API key is needed: `Authorization: Bearer` or `x-api-key`."
_BY_ITS_NAME = (
    " Until there are keys, who calls this machine `localhost`, by its address or by a name in "
    "LIKENESS_ALLOWED_HOSTS needs none."
)
_OTHER_NAME = (
    "No key guards this service, so it answers to names that it knows alone: pages of strangers "
    "can make theirs lead here. Add the name that you call it by to LIKENESS_ALLOWED_HOSTS."
)
_PASSED_ON = (
    "A proxy passed this request on, and no key guards this service: whoever reaches the proxy "
    "would be let in. Let the service ask for keys, or set LIKENESS_BEHIND_PROXY=true if the "
    "proxy checks who calls."
)
# Few enough that a turn of the event loop takes some milliseconds.
_STRANGERS_A_TURN = 8
KEY_ID, _SCOPES = "key_id", "key_scopes"

# What is not listed is the administrator's: the gallery, its keys, a change of bundle, and
# whatever route is added later and forgotten here. None: every key will do.
ROUTES: Final[dict[str, KeyScope | None]] = {
    "/verify": "verify",
    "/identify": "verify",
    "/enroll": "enroll",
    "/embed": "embed",
    "/model": None,
}


class Guard:
    """Refuse requests without the right key, once there are keys or strangers.

    On the loopback a service that never had a key serves everybody who calls it by a name of the
    loopback; the first key that is made closes it for good, also when it is revoked. Beyond, a
    key is always asked for, unless the settings say `without_keys`. Whoever needs no key has to
    call the service by a name that it knows, and on the loopback not through a proxy.

    A service that is full refuses whoever it is: whose key it is costs a question to the store,
    which has enough to do then.
    """

    def __init__(self, app: ASGIApp, gate: Gate, settings: Settings) -> None:
        self._app = app
        self._gate = gate
        self._settings = settings
        self._limits = KeyLimits()
        self._turnstile = Turnstile(_STRANGERS_A_TURN)
        # Two of the largest, whoever sends them, and as many at a time as there are permits.
        self._unverified = Unverified(settings.max_inflight, 2 * settings.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = getattr(scope["app"].state, "service", None) if "app" in scope else None
        # Before there is a service the gate refuses what is guarded.
        if service is None:
            await self._app(scope, receive, send)
            return
        if not service.keys.remembers(_shown(Headers(scope=scope)) or ""):
            await self._turnstile.go_through()
        if scope["path"] in ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        # A signature is proved by the body: where there is one the body is read here already.
        body = Body(receive, send, BodyLimits.of(self._settings, takes_photos(scope)))
        with ExitStack() as stack:
            try:
                receive = await self._admit(service, scope, body, stack)
            except ServiceError as error:
                # What there is and what is not, the document tells everybody.
                route = route_of(scope)
                if not isinstance(error, AccessError) or route is not None:
                    # For the log, which tells routes and no paths.
                    scope["route"] = route
                    await problem(error, request_id(scope))(scope, receive, body.send)
                    return
            await self._app(scope, receive, body.send)

    async def _admit(self, service: Service, scope: Scope, body: Body, stack: ExitStack) -> Receive:
        """Return what receives the body of a request that may come in; raise what refuses it."""
        headers = Headers(scope=scope)
        if self._settings.without_keys:
            self._check_way(headers)
            if not self._is_known(headers):
                raise HostNotAllowed(_OTHER_NAME)
            return body.receive
        if takes_photos(scope):
            self._gate.check_room()
        operation = operation_of(scope) if self._settings.rekognition else None
        receive: Receive = body.receive
        if operation is None:
            key = await self._key(service, headers, scope["path"])
            if key is not None:
                scope.setdefault("state", {})[KEY_ID] = key.key_id
                _check(key, _scope_of(scope["method"], scope["path"]))
        else:
            body.declare(headers)
            key, receive = await self._signer(service, scope, receive, operation)
        if key is not None:
            use = stack.enter_context(self._limits.use(key))
            known = {KEY_ID: key.key_id, _SCOPES: key.scopes, KEY_USE: use}
            scope.setdefault("state", {}).update(known)
        return receive

    async def _key(self, service: Service, headers: Headers, path: str) -> ApiKey | None:
        """Return the key that is shown, None if none is asked for."""
        shown = _shown(headers)
        # CompreFace's clients always show a key, be it one of the service that they come from.
        any_will_do = self._settings.compreface and is_compreface(path)
        if shown is not None and not (any_will_do and await self._is_open(service, headers)):
            return await service.keys.holder(shown)
        if shown is None and not await self._is_open(service, headers):
            strange = self._settings.is_loopback and not self._is_known(headers)
            raise KeyMissing(_NEEDED + _BY_ITS_NAME if strange else _NEEDED)
        return None

    async def _signer(
        self, service: Service, scope: Scope, receive: Receive, operation: str
    ) -> tuple[ApiKey | None, Receive]:
        """Return whose signature it is, None if none is asked for, and what receives the body.

        Until it is proved, a signature is a claim: it takes an id that counts, and takes no
        permit and nothing of what that key may ask for.
        """
        # The AWS SDKs always sign, be it with credentials from elsewhere.
        if await self._is_open(service, Headers(scope=scope)):
            return None, receive
        signed = signature_of(scope)
        key, secret = await service.keys.signer(signed.access_key_id)
        _check(key, rekognition_scope(operation))
        return key, await proved(scope, receive, signed, secret, self._unverified)

    async def _is_open(self, service: Service, headers: Headers) -> bool:
        """Tell whether no key is asked for yet. Raises ProxyNotAllowed if none would be."""
        if not self._settings.is_loopback or await service.keys.has_been():
            return False
        self._check_way(headers)
        return self._is_known(headers)

    def _check_way(self, headers: Headers) -> None:
        """Raise ProxyNotAllowed if a proxy passed on what only this machine can have asked."""
        settings = self._settings
        if settings.is_loopback and not settings.behind_proxy and is_passed_on(headers):
            raise ProxyNotAllowed(_PASSED_ON)

    def _is_known(self, headers: Headers) -> bool:
        """Tell whether the service is called by a name that no stranger can make lead to it."""
        host, settings = host_of(headers.getlist("host")), self._settings
        beyond = not settings.is_loopback and is_address(host)
        return beyond or is_own_name(host, settings.allowed_hosts)


async def key_id_of(request: Request) -> str | None:
    """Return the id of the key that was shown, None if none was asked for."""
    key_id = request.scope.get("state", {}).get(KEY_ID)
    return key_id if isinstance(key_id, str) else None


async def may_embed(request: Request) -> bool:
    """Tell whether who asks may have the vectors of the photos that are sent."""
    scopes = request.scope.get("state", {}).get(_SCOPES)
    return scopes is None or "embed" in scopes


async def may_name(request: Request) -> bool:
    """Tell whether who asks may learn whom a face belongs to, as identifying would tell."""
    scopes = request.scope.get("state", {}).get(_SCOPES)
    return scopes is None or not {"verify", "admin"}.isdisjoint(scopes)


async def may_lower(request: Request) -> bool:
    """Tell whether who asks may decide by less than any operating point; not without a key."""
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


def _scope_of(method: str, path: str) -> KeyScope | None:
    return compreface_scope(method, path) if is_compreface(path) else ROUTES.get(path, "admin")


def _check(key: ApiKey, needed: KeyScope | None) -> None:
    if needed is not None and needed not in key.scopes:
        raise KeyForbidden(f"The key lacks the scope `{needed}`.")
