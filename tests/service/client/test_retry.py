"""Which requests are sent again, and when; the tests do not wait."""

from collections.abc import Callable
from email.utils import formatdate
from time import time

import httpx
import pytest

from service.client import Likeness
from service.client.aio import AsyncLikeness
from service.client.errors import (
    Busy,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    RejectedPhoto,
    Unavailable,
)
from service.client.retry import Patience
from service.schemas.gallery import SubjectsAnswer
from service.schemas.problem import Problem

SUBJECT = "ada"


class Service:
    """Fail with each of the failures, then answer; record the requests and the waits between them.

    Its clock advances only while a client sleeps.
    """

    def __init__(self, *failures: httpx.Response | Exception) -> None:
        self._failures = list(failures)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self._failures:
            failure = self._failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        return httpx.Response(200, json=ANSWERS[request.method, request.url.path])

    def sleep(self, wait_s: float) -> None:
        self.waits.append(wait_s)
        self.now += wait_s

    def client(
        self, budget_s: float = 60, draw: Callable[[float, float], float] = lambda _, most: most
    ) -> Likeness:
        patience = Patience(budget_s, clock=lambda: self.now, draw=draw)
        transport = httpx.MockTransport(self)
        return Likeness("http://likeness", patience=patience, transport=transport, sleep=self.sleep)


ENTRY = {"number": 1, "at": "2026-01-01T00:00:00Z", "action": "subject_deleted", "counts": {}}
DELETED = {"subjects": 1, "templates": 1, "receipt": ENTRY | {"previous": "0", "digest": "1"}}
IMAGES = [{"image": 0, "status": "enrolled", "template_id": "t"}]
ANSWERS: dict[tuple[str, str], object] = {
    ("GET", "/readyz"): {"status": "ok"},
    ("GET", "/subjects"): {"items": [], "next": None},
    ("POST", "/enroll"): {"subject": SUBJECT, "images": IMAGES, "fingerprint": "f"},
    ("DELETE", "/subjects"): DELETED,
}


def refused(status: int, code: str = "queue_full", **headers: str) -> httpx.Response:
    problem = Problem(type="x", title="Busy", status=status, detail="Busy.", code=code)
    return httpx.Response(status, text=problem.model_dump_json(), headers=headers)


def after(seconds: float | str) -> dict[str, str]:
    return {"retry-after": str(seconds)}


def list_subjects(client: Likeness) -> None:
    assert list(client.subjects()) == []


@pytest.mark.parametrize(
    "failure",
    [
        refused(429),
        refused(502),
        refused(503, "draining"),
        refused(504, "deadline_passed"),
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.ReadTimeout("silent"),
        httpx.RemoteProtocolError("cut off"),
    ],
    ids=str,
)
def test_a_request_is_sent_again_after_any_of_these_failures(
    failure: httpx.Response | Exception,
) -> None:
    service = Service(failure)
    list_subjects(service.client())
    assert len(service.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 406, 408, 409, 413, 415, 422, 431, 500])
def test_a_request_that_cannot_succeed_is_sent_once(status: int) -> None:
    service = Service(refused(status, "some_code", **after(1)))
    with pytest.raises(Refused):
        list_subjects(service.client())
    assert len(service.requests) == 1


@pytest.mark.parametrize("failure", [httpx.UnsupportedProtocol("x"), httpx.LocalProtocolError("x")])
def test_an_error_of_the_caller_is_raised_at_once(failure: Exception) -> None:
    service = Service(failure)
    with pytest.raises(httpx.TransportError):
        list_subjects(service.client())
    assert service.waits == []


def test_an_enrolment_keeps_its_idempotency_key_over_all_tries() -> None:
    service = Service(refused(429), httpx.ReadError("reset"))
    service.client().enroll(SUBJECT, b"photo")
    keys = [request.headers["idempotency-key"] for request in service.requests]
    assert (len(keys), len(set(keys))) == (3, 1)


def test_every_enrolment_has_an_idempotency_key_of_its_own() -> None:
    service = Service()
    with service.client() as client:
        client.enroll(SUBJECT, b"photo")
        client.enroll(SUBJECT, b"photo")
    first, second = (request.headers["idempotency-key"] for request in service.requests)
    assert first != second


def test_the_photo_is_sent_whole_with_every_try() -> None:
    service = Service(httpx.WriteError("reset"))
    service.client().enroll(SUBJECT, b"photo")
    assert [b"\r\n\r\nphoto\r\n" in request.content for request in service.requests] == [True, True]


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        (httpx.ConnectError("refused"), 2),
        (refused(429), 2),
        (refused(503, "draining"), 2),
        # It may have been carried out; a second request would then be answered 404.
        (httpx.ReadError("reset"), 1),
        (refused(503, "store_unavailable"), 1),
        (refused(504, "http_504"), 1),
    ],
    ids=str,
)
def test_a_deletion_is_sent_again_only_if_none_can_have_begun(
    failure: httpx.Response | Exception, tries: int
) -> None:
    service = Service(failure)
    with service.client() as client:
        if tries == 1:
            with pytest.raises((Refused, httpx.TransportError)):
                client.delete_subject(SUBJECT)
        else:
            client.delete_subject(SUBJECT)
    assert len(service.requests) == tries


def test_readiness_is_requested_once() -> None:
    service = Service(refused(503, "not_ready", **after(2)))
    with pytest.raises(Unavailable):
        service.client().ready()
    assert service.waits == []


def test_waits_double_up_to_a_limit() -> None:
    service = Service(*[refused(429)] * 8)
    list_subjects(service.client())
    assert service.waits == [0.25, 0.5, 1, 2, 4, 5, 5, 5]


def test_a_wait_is_a_random_part_of_its_limit() -> None:
    service = Service(*[refused(429)] * 2)
    drawn: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        drawn.append((least, most))
        return 0.125

    list_subjects(service.client(draw=draw))
    assert (drawn, service.waits) == ([(0, 0.25), (0, 0.5)], [0.125, 0.125])


def test_retry_after_is_added_to_the_wait() -> None:
    service = Service(refused(429, **after(7)))
    list_subjects(service.client())
    assert service.waits == [7.25]


def test_retry_after_may_be_a_date() -> None:
    service = Service(refused(503, **after(formatdate(time() + 30, usegmt=True))))
    list_subjects(service.client())
    assert 28 < service.waits[0] <= 30.25


@pytest.mark.parametrize("text", ["soon", "-5", "inf", "Mon, 01 Jan 2001 00:00:00 GMT"])
def test_an_unreadable_retry_after_is_ignored(text: str) -> None:
    service = Service(refused(429, **after(text)))
    list_subjects(service.client())
    assert service.waits == [0.25]


def test_a_call_is_given_up_when_its_budget_is_spent() -> None:
    service = Service(*[refused(429, **after(4))] * 9)
    with pytest.raises(Busy):
        list_subjects(service.client(budget_s=10))
    assert sum(service.waits) < 10
    assert len(service.requests) == 3


def test_a_wait_longer_than_the_budget_is_not_begun() -> None:
    service = Service(refused(503, **after(3600)))
    with pytest.raises(Unavailable) as caught:
        list_subjects(service.client(budget_s=10))
    assert (service.waits, caught.value.retry_after_s) == ([], 3600)


def test_without_a_budget_everything_is_tried_once() -> None:
    service = Service(httpx.ConnectError("refused"))
    with pytest.raises(httpx.ConnectError):
        list_subjects(service.client(budget_s=0))
    assert service.waits == []


async def test_both_clients_retry_in_the_same_way() -> None:
    service = Service(refused(429, **after(7)), httpx.ReadError("reset"))
    patience = Patience(clock=lambda: service.now, draw=lambda _, most: most)

    async def sleep(wait_s: float) -> None:
        service.sleep(wait_s)

    transport = httpx.MockTransport(service)
    async with AsyncLikeness(
        "http://likeness", patience=patience, transport=transport, sleep=sleep
    ) as client:
        answer = await client.enroll(SUBJECT, b"photo")
    assert (answer.subject, service.waits) == (SUBJECT, [7.25, 0.5])
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "subject_not_found", NotFound),
        (413, "image_too_large", RejectedPhoto),
        (413, "body_too_large", RejectedPhoto),
        (415, "not_an_image", RejectedPhoto),
        (422, "no_face", RejectedPhoto),
        (422, "low_quality", RejectedPhoto),
        (422, "other_photo", RejectedPhoto),
        (422, "invalid_request", Invalid),
        (422, "idempotency_conflict", Refused),
        (401, "key_missing", Forbidden),
        (403, "key_forbidden", Forbidden),
        (429, "queue_full", Busy),
        (503, "draining", Unavailable),
        (504, "deadline_passed", Unavailable),
    ],
)
def test_a_problem_is_raised_as_its_kind(status: int, code: str, kind: type[Refused]) -> None:
    with pytest.raises(Refused) as caught:
        list_subjects(Service(refused(status, code)).client(budget_s=0))
    assert (type(caught.value), caught.value.problem.code) == (kind, code)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(503, text="<html>No server is available"),
        httpx.Response(301, headers={"location": "https://elsewhere"}),
        httpx.Response(200, text="<html>Welcome"),
        httpx.Response(200, json={"items": 1}),
    ],
    ids=lambda response: f"{response.status_code} {response.text}",
)
def test_an_error_of_another_program_is_a_problem_too(response: httpx.Response) -> None:
    status = response.status_code
    with pytest.raises(Refused, match=f"likeness answered {status}") as caught:
        list_subjects(Service(response).client(budget_s=0))
    assert caught.value.problem.code == f"http_{status}"


@pytest.mark.parametrize(
    ("answer", "send"),
    [
        (
            {"subject": "ada", "images": [], "fingerprint": "f"},
            lambda client: client.enroll_photo("ada", b"photo"),
        ),
        (
            {"images": [], "output": "vector", "dimension": 128, "fingerprint": "f"},
            lambda client: client.embed_photo(b"photo"),
        ),
    ],
    ids=["enroll", "embed"],
)
def test_an_answer_without_the_photo_is_a_problem(
    answer: dict[str, object], send: Callable[[Likeness], object]
) -> None:
    with pytest.raises(Refused, match="likeness answered 200"):
        send(Service(httpx.Response(200, json=answer)).client(budget_s=0))


def test_any_other_request_is_retried_too() -> None:
    service = Service(httpx.ReadError("reset"))
    assert service.client().ask("GET", "/subjects", SubjectsAnswer).items == []
    assert len(service.requests) == 2
