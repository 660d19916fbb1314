"""Ask who calls before anything is read: the right key for the right route."""

from contextlib import ExitStack
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.admission import ALWAYS_OPEN
from service.errors import KeyForbidden, KeyMissing, ServiceError
from service.key_limits import KeyLimits
from service.keys import Scope as KeyScope
from service.problems import problem, request_id
from service.service import Service
from service.settings import Settings
from service.store import ApiKey

HEADER = "x-api-key"
_BEARER = "bearer "
_KEY_ID = "key_id"

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

    On the loopback a service without any key serves everybody; the first key that is made
    closes it. Beyond, a key is always asked for, unless the settings say `without_keys`.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._limits = KeyLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = getattr(scope["app"].state, "service", None) if "app" in scope else None
        # Before there is a service the gate refuses what is guarded.
        if service is None or self._settings.without_keys or scope["path"] in ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        with ExitStack() as stack:
            try:
                key = await self._key(service, Headers(scope=scope))
                if key is not None:
                    _check(key, scope["path"])
                    stack.enter_context(self._limits.use(key))
                    scope.setdefault("state", {})[_KEY_ID] = key.key_id
            except ServiceError as error:
                await problem(error, request_id(scope))(scope, receive, send)
                return
            await self._app(scope, receive, send)

    async def _key(self, service: Service, headers: Headers) -> ApiKey | None:
        """Return the key that is shown, None if none is asked for."""
        shown = _shown(headers)
        if shown is not None:
            return await service.keys.holder(shown)
        if not self._settings.is_loopback or await service.keys.any():
            raise KeyMissing("An API key is needed: `Authorization: Bearer` or `x-api-key`.")
        return None


async def key_id_of(request: Request) -> str | None:
    """Return the id of the key that was shown, None if none was asked for."""
    key_id = request.scope.get("state", {}).get(_KEY_ID)
    return key_id if isinstance(key_id, str) else None


By = Annotated[str | None, Depends(key_id_of)]


def _shown(headers: Headers) -> str | None:
    given = headers.get("authorization", "")
    if given.lower().startswith(_BEARER):
        return given[len(_BEARER) :].strip()
    return headers.get(HEADER)


def _check(key: ApiKey, path: str) -> None:
    needed = ROUTES.get(path, "admin")
    if needed is not None and needed not in key.scopes:
        raise KeyForbidden(f"The key lacks the scope `{needed}`.")
