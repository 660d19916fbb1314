"""Both clients, at a running service."""

import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from service.client import Likeness
from service.client.aio import AsyncLikeness
from service.client.errors import Forbidden, Invalid, NotFound, Refused, RejectedPhoto
from service.schemas.admin import NewKeyAnswer
from service.schemas.gallery import SubjectsAnswer
from tests.people import write_list
from tests.photos import mirrored, photo_bytes
from tests.server import RunningServer, running_server

GRACE, STRANGER = photo_bytes("grace"), photo_bytes("astronaut")
AGAIN = mirrored(GRACE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("data") / "likeness.db") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Likeness]:
    """Return a client of an empty service."""
    with Likeness(server.url) as client:
        yield client
        for subject in list(client.subjects()):
            client.delete_subject(subject.subject)


@pytest.fixture
async def async_client(server: RunningServer, client: Likeness) -> AsyncIterator[AsyncLikeness]:
    async with AsyncLikeness(server.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two subjects with two good photos each, and a broken one."""
    folder = tmp_path_factory.mktemp("photos") / "people"
    for subject, portrait in (("eileen", STRANGER), ("grace", GRACE)):
        (folder / subject).mkdir(parents=True)
        (folder / subject / "a.jpg").write_bytes(portrait)
        (folder / subject / "b.jpg").write_bytes(mirrored(portrait))
    (folder / "grace" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


def test_a_photo_may_be_bytes_a_path_or_an_open_file(client: Likeness, tmp_path: Path) -> None:
    path = tmp_path / "grace.jpg"
    path.write_bytes(GRACE)
    answers = [client.embed(photo) for photo in (GRACE, str(path), path, BytesIO(GRACE))]
    assert len({tuple(answer.images[0].vector or ()) for answer in answers}) == 1


def test_a_subject_is_enrolled_verified_identified_and_deleted(client: Likeness) -> None:
    enrolled = client.enroll("grace", GRACE, metadata={"source": "test"})
    assert client.verify(AGAIN, "grace").verified
    assert [one.subject for one in client.identify(AGAIN, limit=1).candidates] == ["grace"]
    assert client.subject("grace").metadata == {"source": "test"}
    (template,) = client.export("grace").templates
    assert template.template_id == enrolled.images[0].template_id
    assert client.delete_template("grace", template.template_id).templates == 1
    with pytest.raises(NotFound, match="subject"):
        client.subject("grace")


def test_a_renamed_subject_has_only_the_new_name(client: Likeness) -> None:
    client.enroll("grace", GRACE)
    client.enroll("eileen", STRANGER)
    assert client.rename_subject("grace", "hopper").receipt.action == "renamed_to"
    assert client.verify(AGAIN, "hopper").verified
    with pytest.raises(NotFound):
        client.rename_subject("grace", "anybody")
    with pytest.raises(Refused) as caught:
        client.rename_subject("hopper", "eileen")
    assert caught.value.problem.code == "subject_exists"


async def test_the_asyncio_client_does_the_same(async_client: AsyncLikeness) -> None:
    await async_client.enroll("grace", GRACE, accept_quality=True)
    assert (await async_client.verify(AGAIN, "grace")).verified
    assert (await async_client.identify(STRANGER)).outcome == "unknown"
    assert [one.subject async for one in async_client.subjects()] == ["grace"]
    assert (await async_client.delete_subject("grace")).subjects == 1
    assert (await async_client.ready()).status == "ok"


def test_two_photos_are_compared_at_the_given_threshold(client: Likeness) -> None:
    assert client.verify_pair(GRACE, STRANGER).decision == "no_match"
    assert client.verify_pair(GRACE, STRANGER, threshold=0.05).threshold == 0.05
    strict = client.verify_pair(GRACE, AGAIN, operating_point="fmr_1e-4")
    assert strict.operating_point is not None
    assert strict.operating_point.name == "fmr_1e-4"


def test_rows_are_the_vectors_of_the_json(client: Likeness) -> None:
    images = client.embed(GRACE, b"no photo", STRANGER).images
    got = client.embed_rows(GRACE, b"no photo", STRANGER)
    assert got.rows.dtype == np.float32
    assert got.failed == {1: "not_an_image"}
    assert got.rows[0].tolist() == images[0].vector
    assert np.isnan(got.rows[1]).all()
    assert got.rows[2].tolist() == images[2].vector


def test_features_are_returned_on_request(client: Likeness) -> None:
    assert client.embed_rows(GRACE, output="features").output == "features"


def test_a_photo_without_a_face_is_raised_with_advice(client: Likeness) -> None:
    with pytest.raises(RejectedPhoto) as caught:
        client.enroll("nobody", b"no photo")
    assert caught.value.problem.code == "not_an_image"
    assert caught.value.problem.advice is not None


def test_a_wrong_field_is_raised_with_its_name(client: Likeness) -> None:
    with pytest.raises(Invalid) as caught:
        client.identify(GRACE, limit=0)
    assert [error.field for error in caught.value.problem.errors or []] == ["limit"]


@pytest.mark.parametrize("name", ["...", "Ångström & Söhne, 50 %?#", "a\\b"])
def test_a_subject_may_have_a_name_that_no_path_can_contain(client: Likeness, name: str) -> None:
    client.enroll(name, GRACE)
    assert client.export(name).subject == name
    assert client.delete_subject(name).subjects == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/export", "a/templates/b"])
def test_a_name_that_no_url_can_contain_is_refused(client: Likeness, name: str) -> None:
    client.enroll("a", GRACE, template_id="b")
    asked = (
        client.subject,
        client.export,
        client.delete_subject,
        partial(client.rename_subject, to="c"),
        partial(client.delete_template, "a"),
    )
    for ask in asked:
        with pytest.raises((NotFound, Invalid)):
            ask(name)
    with pytest.raises(Invalid):
        client.enroll(name, GRACE)
    assert client.subject("a").templates[0].template_id == "b"
    client.delete_subject("a")


def test_subjects_are_read_from_all_pages(client: Likeness) -> None:
    for name in ("ada", "bob", "cyd"):
        client.enroll(name, GRACE)
    pages = client.each("/subjects", SubjectsAnswer, limit=1)
    assert [subject.subject for subject in pages] == ["ada", "bob", "cyd"]


def test_a_folder_is_enrolled_once(client: Likeness, people: Path) -> None:
    first = {
        photo.path.relative_to(people).as_posix(): photo.image.status
        for photo in client.enroll_folder(people, at_once=3)
    }
    assert first == {
        "eileen/a.jpg": "enrolled",
        "eileen/b.jpg": "enrolled",
        "grace/a.jpg": "enrolled",
        "grace/b.jpg": "enrolled",
        "grace/broken.jpg": "failed",
    }
    again = [photo.image.status for photo in client.enroll_folder(people)]
    assert sorted(again) == ["already_enrolled"] * 4 + ["failed"]


async def test_the_asyncio_client_enrols_a_list_once(
    async_client: AsyncLikeness, people: Path
) -> None:
    source = write_list(people, people.parent / "list.csv")
    first = [photo async for photo in async_client.enroll_folder(source, at_once=3)]
    broken = next(photo for photo in first if photo.image.status == "failed")
    assert (broken.subject, broken.path.name) == ("grace", "broken.jpg")
    assert broken.image.problem is not None
    assert broken.image.problem.code == "undecodable_image"
    again = [photo.image.status async for photo in async_client.enroll_folder(source)]
    assert sorted(again) == ["already_enrolled"] * 4 + ["failed"]


def new_key(client: Likeness, *scopes: str) -> str:
    form = {"name": "test", "scopes": list(scopes)}
    return client.ask("POST", "/keys", NewKeyAnswer, repeatable=False, json=form).key


def photos_of(people: Path) -> list[Path]:
    return [*sorted(people.rglob("*.jpg")), people / "missing.jpg"]


def test_many_photos_are_embedded_although_some_are_broken(client: Likeness, people: Path) -> None:
    done = list(client.embed_many(photos_of(people), at_once=3))
    assert sorted(photo.path for photo in done) == sorted(photos_of(people))
    problems = {photo.path.name: photo.image.problem for photo in done if photo.image.problem}
    assert {name: problem.code for name, problem in problems.items()} == {
        "broken.jpg": "undecodable_image",
        "missing.jpg": "unreadable",
    }


async def test_the_asyncio_client_embeds_many_photos(
    async_client: AsyncLikeness, people: Path
) -> None:
    done = [photo async for photo in async_client.embed_many(photos_of(people), at_once=3)]
    dimension = (await async_client.model()).dimension
    lengths = [len(photo.image.vector) for photo in done if photo.image.vector is not None]
    assert (len(done), lengths) == (6, [dimension] * 4)


def test_the_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        named = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in named
            if not name.startswith("_")
        }

    assert methods(Likeness) == methods(AsyncLikeness)


def test_a_client_loads_nothing_that_computes() -> None:
    heavy = {"torch", "transformers", "cv2", "PIL", "fastapi", "sqlite3", "prometheus_client"}
    program = (
        "import sys; from service.client import Likeness; "
        "from service.client.aio import AsyncLikeness; "
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_key_comes_from_the_environment_unless_one_is_given(
    tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tmp_path / "likeness.db") as server:
        with Likeness(server.url) as client:
            admin = new_key(client, "admin")
        with Likeness(server.url, key=admin) as client:
            enroller = new_key(client, "enroll")
        with pytest.raises(Forbidden), Likeness(server.url) as client:
            client.model()
        monkeypatch.setenv("LIKENESS_API_KEY", admin)
        with Likeness(server.url) as client:
            assert list(client.subjects()) == []
        with Likeness(server.url, key=enroller) as client:
            # This key may not look up subjects, so every photo is sent.
            first = [photo.image.status for photo in client.enroll_folder(people)]
            again = [photo.image.status for photo in client.enroll_folder(people)]
            with pytest.raises(Forbidden):
                client.subject("grace")
    assert sorted(first) == ["enrolled"] * 4 + ["failed"]
    assert sorted(again) == ["already_enrolled"] * 4 + ["failed"]
