"""Ask the operator's own service whether a living person was before the camera.

What tells a person from a photo, a screen or a mask needs the camera, not a photo. It is done
where the photo is taken, by whoever the operator trusts with it; the token that comes of it
is checked here. Neither photos nor vectors are sent, only what they are called: their SHA-256.
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
    """Check tokens; where there is nobody to ask, nothing is checked and nothing is refused."""

    def __init__(self, settings: Settings, metrics: Metrics, oracle: "Oracle | None") -> None:
        self._required = settings.liveness_required
        self._timeout_s = settings.liveness_timeout_s
        self._metrics = metrics
        self._oracle = oracle

    async def check(
        self, token: str | None, photos: Sequence[bytes], route: str, request_id: str | None
    ) -> Liveness:
        """Tell whether the token was found good, or nobody asked.

        Raises LivenessTokenNeeded, NotLive, and LivenessUnavailable: what cannot be checked
        does not pass.
        """
        if self._oracle is None or (token is None and not self._required):
            return "not_checked"
        if token is None:
            self._metrics.liveness("token_missing")
            raise LivenessTokenNeeded("This service asks for a liveness_token, and there is none.")
        question = {
            "token": token,
            "image_sha256": [hashlib.sha256(photo).hexdigest() for photo in photos],
            "route": route,
            "request_id": request_id,
        }
        try:
            with self._metrics.timed("liveness"):
                async with asyncio.timeout(self._timeout_s):
                    live = await self._oracle.ask(question)
        except (httpx.HTTPError, TimeoutError, ValidationError) as exc:
            self._metrics.liveness("unavailable")
            # Not the error's own words, which may hold the URL.
            logger.warning("no liveness: %s", type(exc).__name__)
            raise LivenessUnavailable("The liveness check does not answer; try again.") from exc
        self._metrics.liveness("passed" if live else "failed")
        if not live:
            raise NotLive("The liveness check did not find a living person.")
        return "passed"


class _Verdict(BaseModel):
    live: StrictBool


class Oracle:
    """Be asked over HTTP at one URL."""

    def __init__(self, client: httpx.AsyncClient, url: httpx.URL) -> None:
        self._client = client
        # The password goes into a header: httpx logs the URL of every request.
        self._url = url.copy_with(userinfo=b"")
        self._auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else None

    async def ask(self, question: Mapping[str, object]) -> bool:
        """Return the verdict; raises httpx.HTTPError and ValidationError if there is none."""
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
        return _Verdict.model_validate_json(bytes(answer)).live


@asynccontextmanager
async def open_liveness(settings: Settings, metrics: Metrics) -> AsyncIterator[LivenessCheck]:
    """Open the connections to the operator's service, if there is one."""
    if settings.liveness_url is None:
        yield LivenessCheck(settings, metrics, None)
        return
    async with httpx.AsyncClient(
        headers={"accept": "application/json", "accept-encoding": "identity"},
        timeout=settings.liveness_timeout_s,
        # Neither a variable of the environment nor an answer sends tokens elsewhere.
        trust_env=False,
        follow_redirects=False,
    ) as client:
        oracle = Oracle(client, httpx.URL(str(settings.liveness_url)))
        yield LivenessCheck(settings, metrics, oracle)
