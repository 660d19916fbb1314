import logging

import httpx
import pytest
from fastapi import FastAPI, Query
from pydantic import BaseModel

from models.errors import DegenerateVector, LikenessError, NoFace
from service.edge.problems import MEDIA_TYPE, field_errors, install, problem
from service.errors import FieldError, QueueFull, invalid_fields
from tests.in_process import client_of


class Threshold(BaseModel):
    threshold: float


def app_that_raises(error: Exception) -> FastAPI:
    app = FastAPI()
    install(app)

    @app.get("/fails")
    async def fails() -> None:
        raise error

    @app.get("/typed")
    async def typed(limit: int = Query(le=5)) -> int:
        return limit

    @app.post("/body")
    async def body(body: Threshold) -> float:
        return body.threshold

    @app.get("/body")
    async def nothing() -> None:
        return None

    return app


async def answer(error: Exception, path: str = "/fails") -> httpx.Response:
    async with client_of(app_that_raises(error)) as client:
        return await client.get(path)


async def test_error_becomes_a_problem() -> None:
    got = await answer(NoFace("No face was found."))
    assert got.json() == {
        "type": "urn:likeness:problem:no_face",
        "title": "No face",
        "status": 422,
        "detail": "No face was found.",
        "code": "no_face",
        "advice": NoFace.advice,
    }


async def test_problem_has_its_media_type() -> None:
    assert (await answer(NoFace("x"))).headers["content-type"] == MEDIA_TYPE


async def test_busy_service_says_when_to_come_back() -> None:
    assert (await answer(QueueFull("x"))).headers["retry-after"] == "1"


async def test_our_own_failure_keeps_its_sentence_to_itself() -> None:
    assert "secret" not in (await answer(DegenerateVector("secret path"))).text


async def test_our_own_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "likeness"):
        await answer(DegenerateVector("secret path"))
    assert "degenerate_vector" in caplog.text


async def test_unknown_path_is_not_found() -> None:
    assert (await answer(NoFace("x"), "/nothing")).json()["code"] == "not_found"


async def test_wrong_method_is_not_allowed() -> None:
    async with client_of(app_that_raises(NoFace("x"))) as client:
        got = await client.post("/fails")
    assert (got.json()["code"], got.headers["allow"]) == ("method_not_allowed", "HEAD, GET")


async def test_validation_names_the_field() -> None:
    got = await answer(NoFace("x"), "/typed?limit=9")
    assert got.json()["errors"] == [
        {"field": "limit", "message": "Input should be less than or equal to 5"}
    ]


async def test_validation_is_invalid_request() -> None:
    got = await answer(NoFace("x"), "/typed?limit=9")
    assert (got.status_code, got.json()["code"]) == (422, "invalid_request")


async def test_validation_never_echoes_the_input() -> None:
    async with client_of(app_that_raises(NoFace("x"))) as client:
        got = await client.post("/body", json={"threshold": "hunter2"})
    assert "hunter2" not in got.text


async def test_broken_json_of_the_framework_is_a_problem() -> None:
    async with client_of(app_that_raises(NoFace("x"))) as client:
        got = await client.post("/body", content=b"{", headers={"content-type": "application/json"})
    assert got.json()["code"] == "invalid_request"


def test_field_names_of_strangers_are_shortened_and_made_printable() -> None:
    (error,) = field_errors([{"loc": ("\ud800\n" + "x" * 1000,), "msg": "m"}])
    assert error.field.isascii()
    assert len(error.field) == 64


def test_first_field_is_in_the_sentence() -> None:
    error = invalid_fields([FieldError("a", "Is bad"), FieldError("b", "Is worse")])
    assert error.sentence == "a: Is bad. 1 more in `errors`."


def test_request_id_is_in_the_problem() -> None:
    assert b'"request_id":"abc"' in problem(LikenessError("x"), "abc").body


async def test_method_that_a_path_lacks_is_answered_with_all_that_it_has() -> None:
    async with client_of(app_that_raises(NoFace("none"))) as client:
        response = await client.delete("/body")
    assert (response.status_code, response.headers["allow"]) == (405, "HEAD, GET, POST")
