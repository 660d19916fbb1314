"""The store's contract: collections, which are searched separately."""

from datetime import timedelta

import pytest

from service.errors import (
    CollectionExists,
    CollectionNotFound,
    SubjectElsewhere,
    SubjectNotFound,
    TemplateNotFound,
)
from service.store import Change, Counts, MissingCounts, Store
from tests.contracts.store.samples import (
    FINGERPRINT,
    Clock,
    names_found,
    template,
    vector_of,
)


async def enrol_everywhere(store: Store) -> None:
    """Enrol one face in the default collection and, as other subjects, in two named ones."""
    for name in ("a", "b"):
        await store.create_collection(name)
    for name in ("", "a", "b"):
        await store.enroll(f"ada{name}", [template("one", f"t{name}")], collection=name)


async def counts_of(store: Store, *names: str) -> list[tuple[int, int]]:
    found = [await store.count(name) for name in names]
    return [(counts.subjects, counts.templates) for counts in found]


class CollectionContract:
    """Keep subjects apart."""

    async def test_face_is_found_in_its_own_collection_only(self, store: Store) -> None:
        await enrol_everywhere(store)
        for name in ("", "a", "b"):
            assert await names_found(store, "one", collection=name) == [f"ada{name}"]
        assert await names_found(store, "one", collection="unknown") == []

    async def test_subject_tells_its_collection_wherever_it_is_looked_up(
        self, store: Store
    ) -> None:
        await enrol_everywhere(store)
        for name in ("", "a"):
            assert (await store.subject(f"ada{name}")).collection == name
            assert (await store.templates_of(f"ada{name}")).collection == name
            assert (await store.export(f"ada{name}")).templates[0].template_id == f"t{name}"

    async def test_subjects_are_listed_by_collection(self, store: Store) -> None:
        await enrol_everywhere(store)
        for name in ("z", "y", "x"):
            await store.enroll(name, [template("two")], collection="a")
        page = await store.subjects(None, 2, "a")
        rest = await store.subjects(page.next, 9, "a")
        listed = [(item.subject, item.collection) for item in (*page.items, *rest.items)]
        assert listed == [(name, "a") for name in ("adaa", "x", "y", "z")]
        assert [item.subject for item in (await store.subjects(None, 9)).items] == ["ada"]
        assert (await store.subjects(None, 9, "unknown")).items == ()

    async def test_collections_are_listed_in_code_point_order_page_by_page(
        self, store: Store, clock: Clock
    ) -> None:
        names = ["b", "a", "B", "é", "\U0001d538", "\uffee"]
        for name in names:
            made = await store.create_collection(name)
            assert (made.name, made.created_at, made.counts) == (name, clock.now, Counts(0, 0))
        await store.enroll("ada", [template("one"), template("two")], collection="a")
        page = await store.collections(None, 4)
        rest = await store.collections(page.next, 4)
        assert [each.name for each in (*page.items, *rest.items)] == sorted(names)
        assert rest.next is None
        counts = {each.name: each.counts for each in (*page.items, *rest.items)}
        assert counts == {**dict.fromkeys(names, Counts(0, 0)), "a": Counts(1, 2)}
        assert (await store.collection("a")).counts == Counts(1, 2)

    async def test_name_is_given_once_and_the_default_ones_never(self, store: Store) -> None:
        await store.create_collection("a")
        for name in ("a", ""):
            with pytest.raises(CollectionExists):
                await store.create_collection(name)
        assert [each.name for each in (await store.collections(None, 9)).items] == ["a"]

    async def test_unknown_collection_is_not_found(self, store: Store) -> None:
        await store.enroll("ada", [template("one")])
        for name in ("a", ""):
            for question in (store.collection(name), store.delete_collection(name)):
                with pytest.raises(CollectionNotFound):
                    await question
        assert await names_found(store, "one") == ["ada"]
        with pytest.raises(CollectionNotFound):
            await store.enroll("bob", [template("two")], collection="a")
        assert await store.count() == Counts(1, 1)
        with pytest.raises(SubjectNotFound):
            await store.subject("bob")

    async def test_subject_of_another_collection_does_not_change(self, store: Store) -> None:
        await enrol_everywhere(store)
        for name, other in (("", "a"), ("a", ""), ("a", "b")):
            before = await store.subject(f"ada{name}")
            with pytest.raises(SubjectElsewhere):
                await store.enroll(f"ada{name}", [template("two")], {"x": "y"}, collection=other)
            assert await store.subject(f"ada{name}") == before
            assert await names_found(store, "two", collection=other) == [f"ada{other}"]
        assert await store.count() == Counts(3, 3)

    async def test_counts_follow_every_change(self, store: Store, clock: Clock) -> None:
        await enrol_everywhere(store)
        soon = clock.now + timedelta(seconds=1)
        new = [template("two", "t2"), template("three", fingerprint="other")]
        await store.enroll("adaa", new, collection="a")
        await store.enroll("bob", [template("four", expires_at=soon)], collection="a")
        assert await counts_of(store, "", "a", "b") == [(1, 1), (2, 4), (1, 1)]
        clock.now = soon
        await store.sweep(10)
        assert await counts_of(store, "", "a", "b") == [(1, 1), (1, 3), (1, 1)]
        await store.forget("other")
        await store.delete_template("adaa", "t2")
        assert await counts_of(store, "", "a", "b") == [(1, 1), (1, 1), (1, 1)]
        await store.delete_subject("adaa")
        assert await counts_of(store, "", "a", "b") == [(1, 1), (0, 0), (1, 1)]
        assert await store.count() == Counts(2, 2)

    async def test_expired_template_is_not_found_in_its_collection(
        self, store: Store, clock: Clock
    ) -> None:
        await store.create_collection("a")
        soon = clock.now + timedelta(seconds=1)
        await store.enroll("ada", [template("one", expires_at=soon)], collection="a")
        assert await names_found(store, "one", collection="a") == ["ada"]
        clock.now = soon
        assert await names_found(store, "one", collection="a") == []

    async def test_vector_of_another_bundle_stays_in_the_collection(self, store: Store) -> None:
        await enrol_everywhere(store)
        assert await store.add_vector("adaa", "ta", "other", vector_of("new"))
        for name, found in (("", []), ("a", ["adaa"]), ("b", [])):
            near = await store.search(vector_of("new"), "other", 9, name)
            assert [candidate.subject for candidate in near] == found

    async def test_change_of_bundle_takes_in_all_collections_or_one(self, store: Store) -> None:
        await enrol_everywhere(store)
        change = Change(FINGERPRINT, "other")
        for name, ids in ((None, ["t", "ta", "tb"]), ("", ["t"]), ("a", ["ta"]), ("c", [])):
            listed = await store.lacking(change, 0, 9, name)
            assert [each.template_id for each in listed] == ids
            assert await store.lack(change, name) == MissingCounts(len(ids), len(ids))

    async def test_template_names_its_subject(self, store: Store, clock: Clock) -> None:
        await enrol_everywhere(store)
        soon = clock.now + timedelta(seconds=1)
        await store.enroll("bob", [template("two", "t2", expires_at=soon)], collection="a")
        clock.now = soon
        assert [await store.subject_of(name) for name in ("t", "ta", "t2")] == [
            "ada",
            "adaa",
            "bob",
        ]
        await store.delete_subject("ada")
        for name in ("t", "unknown"):
            with pytest.raises(TemplateNotFound):
                await store.subject_of(name)
