"""One photo at a service that has no time for it."""

import httpx
import pytest

from service.enrolment import enroll_patiently
from service.local import Refused


def service(refusals: int) -> httpx.AsyncClient:
    """Give a client of a service that refuses so often before it enrols."""
    left = iter(range(refusals))

    def answer(_: httpx.Request) -> httpx.Response:
        if next(left, None) is None:
            image = {"image": 0, "status": "enrolled", "template_id": "t"}
            body = {"subject": "ada", "images": [image], "fingerprint": "f"}
            return httpx.Response(201, json=body)
        problem = {
            "type": "x",
            "title": "Busy",
            "status": 429,
            "detail": "Busy.",
            "code": "queue_full",
        }
        return httpx.Response(429, json=problem, headers={"retry-after": "0"})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://likeness")


async def test_a_photo_is_sent_again_when_the_service_was_busy() -> None:
    async with service(refusals=3) as client:
        assert (await enroll_patiently(client, "ada", b"")).status == "enrolled"


async def test_a_service_that_never_has_time_ends_the_command() -> None:
    async with service(refusals=3) as client:
        with pytest.raises(Refused, match="Busy"):
            await enroll_patiently(client, "ada", b"", patience_s=0)
