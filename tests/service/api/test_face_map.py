"""A map shows a limited part of the gallery, and one map is drawn at a time."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.recognition.service import Service
from service.schemas.gallery import MapAnswer
from service.settings import Settings
from service.store import NewTemplate
from tests.checkpoints import write_bundle
from tests.in_process import client_of


@dataclass(frozen=True, slots=True)
class Gallery:
    """Hold a service with an empty gallery, and a client of it."""

    app: FastAPI
    client: httpx.AsyncClient

    async def add(self, subject: str, templates: int, fingerprint: str | None = None) -> None:
        service: Service = self.app.state.service
        recogniser = await service.active()
        random = np.random.default_rng(list(subject.encode()))
        person = random.normal(size=recogniser.bundle.dimension)
        new = []
        for number in range(templates):
            vector = person + random.normal(0, 0.05, len(person))
            new.append(
                NewTemplate(
                    template_id=f"{subject}-{number}",
                    vector=(vector / np.linalg.norm(vector)).astype(np.float32),
                    fingerprint=fingerprint or recogniser.fingerprint,
                    image_sha256=f"{subject}-{number}",
                    quality={},
                )
            )
        await service.store.enroll(subject, new)

    async def map(self, **query: str | int) -> MapAnswer:
        answer = await self.client.get("/map", params=query)
        assert answer.status_code == 200, answer.text
        return MapAnswer.model_validate(answer.json())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
async def gallery(bundle: Path) -> AsyncIterator[Gallery]:
    app = create_app(Settings(store="sqlite:///:memory:", bundle=str(bundle)))
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield Gallery(app, client)


async def test_empty_gallery_has_an_empty_map(gallery: Gallery) -> None:
    assert (await gallery.map()).points == []


async def test_templates_of_a_subject_lie_together(gallery: Gallery) -> None:
    for subject in ("ada", "eileen", "grace"):
        await gallery.add(subject, 5)
    drawn = await gallery.map()
    assert (drawn.method, drawn.complete) == ("t-SNE", True)
    places = np.array([(point.x, point.y) for point in drawn.points]).reshape(3, 5, 2)
    centres = places.mean(axis=1)
    apart = np.linalg.norm(places[:, :, None] - centres, axis=3)
    assert (apart.argmin(axis=2) == np.arange(3)[:, None]).all()


async def test_a_map_without_scikit_learn_says_what_it_shows(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    await gallery.add("ada", 12)
    drawn = await gallery.map()
    assert (drawn.method, drawn.complete) == ("principal components", False)


async def test_subjects_that_do_not_fit_are_on_the_next_map(gallery: Gallery) -> None:
    for subject in ("ada", "eileen", "grace"):
        await gallery.add(subject, 3)
    first = await gallery.map(limit=7)
    assert {point.subject for point in first.points} == {"ada", "eileen"}
    assert first.next == "eileen"
    rest = await gallery.map(limit=7, after=first.next)
    assert {point.subject for point in rest.points} == {"grace"}
    assert rest.next is None


async def test_a_subject_with_more_templates_than_fit_is_cut(gallery: Gallery) -> None:
    await gallery.add("ada", 9)
    assert len((await gallery.map(limit=4)).points) == 4


async def test_templates_of_another_bundle_are_counted_and_not_drawn(gallery: Gallery) -> None:
    await gallery.add("ada", 2)
    await gallery.add("eileen", 3, fingerprint="0" * 64)
    drawn = await gallery.map()
    assert (len(drawn.points), drawn.others) == (2, 3)


async def test_a_second_map_at_a_time_is_refused(gallery: Gallery) -> None:
    async with gallery.app.state.map_drawing:
        answer = await gallery.client.get("/map")
    assert answer.status_code == 429
    assert answer.json()["code"] == "too_many_requests"
    await gallery.map()


async def test_the_map_needs_the_scope_admin(gallery: Gallery) -> None:
    headers: dict[str, str] = {}
    for scope, status in (("admin", 200), ("verify", 403)):
        form = {"name": scope, "scopes": [scope]}
        made = await gallery.client.post("/keys", json=form, headers=headers)
        shown = {"x-api-key": made.json()["key"]}
        assert (await gallery.client.get("/map", headers=shown)).status_code == status
        headers = headers or shown
