"""The bundle that does not serve decides too, after the answer; callers notice nothing of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send
from typer.testing import CliRunner

from service.app import create_app
from service.cli.app import app as cli
from service.errors import InvalidSettings
from service.recognition.service import Service
from service.recognition.shadow import Shadow, Tally
from service.schemas.admin import ChangeAnswer, ShadowAnswer
from service.schemas.recognition import VerifyAnswer
from service.schemas.requests import VerifyRequest
from service.settings import Settings, load_settings
from tests.in_process import client_of
from tests.photos import photo_bytes, reencoded
from tests.service.serving import serving

ANOTHER = reencoded("astronaut", side=400)


@dataclass
class Seen:
    """Hold what callers got, and what the service told of the other bundle."""

    answers: list[VerifyAnswer] = field(default_factory=list)
    shadows: list[ShadowAnswer] = field(default_factory=list)
    metrics: str = ""
    statuses: list[int] = field(default_factory=list)
    printed: str = ""
    order: list[str] = field(default_factory=list)


@asynccontextmanager
async def opened(store: str, **words: object) -> AsyncIterator[tuple[httpx.AsyncClient, FastAPI]]:
    given = {"store": store, "bundle": "sface", "without_keys": True} | words
    app = create_app(Settings.model_validate(given))
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client, app


async def enroll(client: httpx.AsyncClient, subject: str, photo: bytes) -> None:
    response = await client.post("/enroll", data={"subject": subject}, files={"image": photo})
    assert response.status_code == 201, response.text


async def settled(client: httpx.AsyncClient, requests: int) -> ShadowAnswer:
    """Return the counts once so many requests have been decided or left out."""
    async with asyncio.timeout(120):
        while True:
            shadow = ChangeAnswer.model_validate((await client.get("/change")).json()).shadow
            assert shadow is not None
            if shadow.compared + sum(shadow.dropped.values()) >= requests:
                return shadow


async def verify_in_order(app: FastAPI, shadow: Shadow) -> tuple[list[str], httpx.Response]:
    """Verify, and return in which order the answer was sent and the other bundle was asked."""
    order: list[str] = []
    offer = shadow.offer

    async def noted_offer(form: VerifyRequest, answer: VerifyAnswer) -> None:
        order.append("offered")
        await offer(form, answer)

    async def noted_app(scope: Scope, receive: Receive, send: Send) -> None:
        async def noted_send(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                order.append("answered")

        await app(scope, receive, noted_send)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shadow, "offer", noted_offer)
        async with client_of(noted_app) as client:
            photo = {"image": ANOTHER}
            return order, await client.post("/verify", data={"subject": "ada"}, files=photo)


async def scenario(store: str) -> Seen:
    seen = Seen()
    async with opened(store) as (client, _):
        await enroll(client, "old", photo_bytes("grace"))
    async with opened(store, next_bundle="builtin", shadow=1.0) as (client, app):
        await enroll(client, "ada", photo_bytes("astronaut"))
        ours = {"image": ANOTHER}
        two = {"source_image": photo_bytes("grace"), "target_image": ANOTHER}

        async def verify(fields: dict[str, str], files: dict[str, bytes]) -> None:
            response = await client.post("/verify", data=fields, files=files)
            seen.answers.append(VerifyAnswer.model_validate(response.json()))

        await verify({"subject": "ada"}, ours)
        await verify({}, two)
        seen.shadows.append(await settled(client, 2))
        await verify({"subject": "old"}, ours)
        await verify({"subject": "ada", "threshold": "0.5"}, ours)
        seen.shadows.append(await settled(client, 4))
        seen.metrics = (await client.get("/metrics")).text
        service: Service = app.state.service
        assert service.shadow is not None
        assert service.next is not None
        form = VerifyRequest(subject="ada", image=[ANOTHER])
        # Nobody gets a turn meanwhile: an offer waits for nothing.
        for _ in range(9):
            await service.shadow.offer(form, seen.answers[0])
        seen.shadows.append(await settled(client, 13))
        other = service.next.fingerprint
        async with serving(app, service.metrics) as url:
            words = ["switch", "--to", other, "--url", url, "--accept-missing"]
            switched = await asyncio.to_thread(CliRunner().invoke, cli, words)
        seen.printed = " ".join(switched.output.split())
        await client.post("/change/switch", json={"fingerprint": seen.answers[0].fingerprint})
        await service.next.batcher.close(0)
        seen.order, failed = await verify_in_order(app, service.shadow)
        seen.statuses.append(failed.status_code)
        seen.shadows.append(await settled(client, 14))
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(scenario(f"sqlite:///{tmp_path_factory.mktemp('shadow') / 'db'}"))


def pairs(shadow: ShadowAnswer) -> dict[tuple[str, str], int]:
    return {(each.live, each.candidate): each.requests for each in shadow.decisions}


def test_both_bundles_decide_on_a_subject_and_on_two_photos(seen: Seen) -> None:
    first = seen.shadows[0]
    assert first.compared == 2
    assert sum(count for (live, _), count in pairs(first).items() if live == "match") == 1
    assert seen.answers[0].decision == "match"


def test_the_share_of_disagreement_has_an_interval(seen: Seen) -> None:
    share = seen.shadows[0].disagreement
    apart = sum(count for (live, other), count in pairs(seen.shadows[0]).items() if live != other)
    assert share is not None
    assert share.value == apart / 2
    assert share.low < share.high


def test_who_has_no_template_of_the_other_bundle_is_left_out(seen: Seen) -> None:
    assert seen.shadows[1].dropped == {"no_template": 1, "no_point": 1}


def test_both_scores_are_exported_under_their_fingerprints(seen: Seen) -> None:
    counts = [
        line for line in seen.metrics.splitlines() if line.startswith("likeness_shadow_score_count")
    ]
    assert [line.split()[-1] for line in counts] == ["2.0", "2.0"]
    assert f'bundle="{seen.answers[0].fingerprint[:12]}"' in "".join(counts)


def test_the_other_bundle_is_not_counted_as_live(seen: Seen) -> None:
    lines = dict(line.rsplit(" ", 1) for line in seen.metrics.splitlines() if line[0] != "#")
    decided = sum(
        float(count) for name, count in lines.items() if "likeness_decisions_total" in name
    )
    assert decided == 4
    assert float(lines["likeness_score_count"]) == 4


def test_what_waits_is_bounded_and_the_rest_dropped_with_a_count(seen: Seen) -> None:
    assert seen.shadows[2].dropped["busy"] == 1
    assert seen.shadows[2].compared == 10


def test_the_answer_is_sent_before_the_other_bundle_is_asked(seen: Seen) -> None:
    assert seen.order == ["answered", "offered"]


def test_the_switch_tells_how_often_they_differed(seen: Seen) -> None:
    share = seen.shadows[2].disagreement
    assert share is not None
    assert f"{share.value:.2%} of 10 requests decided differently" in seen.printed
    assert f"({share.low:.2%} to {share.high:.2%})" in seen.printed
    assert "serving" in seen.printed


def test_an_encoder_that_is_gone_fails_no_answer(seen: Seen) -> None:
    assert seen.statuses == [200]
    assert seen.shadows[3].compared == 10


def test_shadow_without_another_bundle_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_SHADOW", "0.1")
    with pytest.raises(InvalidSettings, match="LIKENESS_NEXT_BUNDLE"):
        load_settings()


def test_nothing_compared_has_no_share() -> None:
    assert Tally().disagreement is None
