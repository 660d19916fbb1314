"""CompreFace's face collection over either engine: examples are listed and found by id."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from models.decision import Template
from service.compat.compreface.collection import FaceCollection
from service.compat.compreface.schemas import Example
from service.errors import SubjectNotFound, TemplateNotFound
from service.store import Store, open_store
from tests.contracts.store.samples import FINGERPRINT, Clock, template


def collection(store: Store) -> FaceCollection:
    return FaceCollection(store, FINGERPRINT, lambda held: Template(held.vector, held.fingerprint))


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Hold three templates that count, and an expired, another bundle's, another collection's."""
    url = "sqlite:///:memory:"
    if request.param == "postgresql":
        url = request.getfixturevalue("cluster").new_database()
    clock = Clock()
    store = await open_store(url, clock)
    past = template("c", "expired", expires_at=clock.now + timedelta(seconds=1))
    await store.enroll("ada", [template("a", "1"), template("b", "2"), past])
    await store.enroll("bob", [template("a", "3"), template("d", "other", fingerprint="e" * 64)])
    await store.create_collection("c")
    await store.enroll("eve", [template("e", "elsewhere")], collection="c")
    clock.now += timedelta(seconds=2)
    yield store
    await store.close()


async def test_pages_hold_what_counts_and_nothing_else(store: Store) -> None:
    held = collection(store)
    pages = [await held.page(None, number, 2) for number in (0, 1, 2)]
    assert [[each.image_id for each in page.faces] for page in pages] == [["1", "2"], ["3"], []]
    assert {(page.total_elements, page.total_pages) for page in pages} == {(3, 2)}


async def test_example_is_found_by_its_id_alone(store: Store) -> None:
    held = collection(store)
    example = await held.example("3")
    assert example == Example(image_id="3", subject="bob")
    assert (await held.template(example)).fingerprint == FINGERPRINT


@pytest.mark.parametrize("image_id", ["expired", "other", "elsewhere", "nobody"])
async def test_what_does_not_count_is_not_found(store: Store, image_id: str) -> None:
    with pytest.raises(TemplateNotFound):
        await collection(store).example(image_id)


async def test_example_that_was_deleted_meanwhile_is_not_used(store: Store) -> None:
    held = collection(store)
    example = await held.example("3")
    assert await held.delete(example, None)
    assert not await held.delete(example, None)
    with pytest.raises(TemplateNotFound):
        await held.template(example)


async def test_list_of_ids_finds_those_that_count_in_its_order(store: Store) -> None:
    found = await collection(store).find(["3", "elsewhere", "nobody", "1"])
    assert [(each.image_id, each.subject) for each in found] == [("3", "bob"), ("1", "ada")]


async def test_subject_of_another_collection_is_neither_seen_nor_deleted(store: Store) -> None:
    held = collection(store)
    assert await held.subjects() == ["ada", "bob"]
    assert (await held.page("eve", 0, 9)).faces == []
    with pytest.raises(SubjectNotFound):
        await held.delete_subject("eve", None)
    with pytest.raises(SubjectNotFound):
        await held.rename_subject("eve", "adam", None)
    assert (await store.subject("eve")).collection == "c"
    assert (await held.delete_subject("ada", None)).templates == 3
