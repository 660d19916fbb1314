"""Ask the operator's own service whether a living person was in front of the camera.

Telling a person from a photo, a screen or a mask needs the camera; a photo is not enough. A
liveness check of the operator's choice does it where the photo is taken, and returns a token.
This module has that token checked. It sends no photos and no vectors, only the SHA-256 of each
photo.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx
from pydantic import BaseModel, StrictBool, ValidationError

from service.errors import LivenessTokenNeeded, LivenessUnavailable, NotLive
from service.observe.metrics import Metrics
from service.schemas.recognition import Liveness
from service.settings import Settings

logger = logging.getLogger("likeness")

_MAX_ANSWER_BYTES = 2**16


class LivenessCheck:
    """Check liveness tokens; without a service to ask, check and refuse nothing."""

    def __init__(
        self, settings: Settings, metrics: Metrics, client: "LivenessClient | None"
    ) -> None:
        self._required = settings.liveness_required
        self._timeout_s = settings.liveness_timeout_s
        self._metrics = metrics
        self._client = client

    async def check(
        self, token: str | None, photos: Sequence[bytes], route: str, request_id: str | None
    ) -> Liveness:
        """Return `passed` if the token is valid, or `not_checked` if no check is needed.

        Raises LivenessTokenNeeded, NotLive, and LivenessUnavailable if the token cannot be
        checked.
        """
        if self._client is None or (token is None and not self._required):
            return "not_checked"
        if token is None:
            self._metrics.liveness("token_missing")
            raise LivenessTokenNeeded(
                "This service requires a liveness_token, and the request has none."
            )
        question = {
            "token": token,
            "image_sha256": [hashlib.sha256(photo).hexdigest() for photo in photos],
            "route": route,
            "request_id": request_id,
        }
        try:
            with self._metrics.timed("liveness"):
                async with asyncio.timeout(self._timeout_s):
                    live = await self._client.ask(question)
        except (httpx.HTTPError, TimeoutError, ValidationError) as exc:
            self._metrics.liveness("unavailable")
            # Without the error's text, which may contain the URL.
            logger.warning("the liveness check failed: %s", type(exc).__name__)
            raise LivenessUnavailable("The liveness check does not answer; try again.") from exc
        self._metrics.liveness("passed" if live else "failed")
        if not live:
            raise NotLive("The liveness check did not find a living person.")
        return "passed"


class _LivenessVerdict(BaseModel):
    live: StrictBool


class LivenessClient:
    """Ask one URL over HTTP."""

    def __init__(self, client: httpx.AsyncClient, url: httpx.URL) -> None:
        self._client = client
        # The password goes into a header, since httpx logs the URL of every request.
        self._url = url.copy_with(userinfo=b"")
        self._auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else None

    async def ask(self, question: Mapping[str, object]) -> bool:
        """Return whether the person is alive. Raises httpx.HTTPError and ValidationError."""
        request = self._client.build_request("POST", self._url, json=question)
        response = await self._client.send(request, auth=self._auth, stream=True)
        try:
            response.raise_for_status()
            answer = bytearray()
            async for piece in response.aiter_raw():
                answer += piece
                if len(answer) > _MAX_ANSWER_BYTES:
                    raise httpx.DecodingError("The answer is too long.")
        finally:
            await response.aclose()
        return _LivenessVerdict.model_validate_json(bytes(answer)).live


@asynccontextmanager
async def open_liveness(settings: Settings, metrics: Metrics) -> AsyncIterator[LivenessCheck]:
    """Open the connections to the operator's service, if the settings name one."""
    if settings.liveness_url is None:
        yield LivenessCheck(settings, metrics, None)
        return
    async with httpx.AsyncClient(
        headers={"accept": "application/json", "accept-encoding": "identity"},
        timeout=settings.liveness_timeout_s,
        # No environment variable and no redirect may send tokens elsewhere.
        trust_env=False,
        follow_redirects=False,
    ) as client:
        liveness_client = LivenessClient(client, httpx.URL(str(settings.liveness_url)))
        yield LivenessCheck(settings, metrics, liveness_client)
