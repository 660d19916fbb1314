"""The store's contract: photos, and the change to another bundle."""

import hashlib
from datetime import timedelta

import pytest

from service.errors import SubjectNotFound, TemplateNotFound
from service.store import Change, MissingCounts, Photo, Store
from tests.contracts.store.samples import FINGERPRINT, Clock, template, vector_of

NEW = "e" * 64
CHANGE = Change(FINGERPRINT, NEW)


def digest(image: str) -> str:
    return hashlib.sha256(image.encode()).hexdigest()


async def ids_lacking(store: Store, change: Change = CHANGE) -> list[str]:
    return [each.template_id for each in await store.lacking(change, 0, 100)]


async def found_by(store: Store, image: str, fingerprint: str) -> list[str]:
    found = await store.search(vector_of(image), fingerprint, 5)
    return [candidate.template_id for candidate in found]


class PhotoContract:
    """Keep given photos as long as their templates."""

    async def test_photo_is_kept_as_it_was_given(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1", photo=b"jpeg\0")])
        assert await store.photo("ada", "t1") == Photo(digest("one"), b"jpeg\0")

    async def test_photo_that_was_not_given_is_named_by_its_digest(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        assert await store.photo("ada", "t1") == digest("one")

    async def test_photo_sent_again_to_be_kept_is_kept(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        await store.enroll("ada", [template("one", photo=b"jpeg")])
        assert await store.photo("ada", "t1") == Photo(digest("one"), b"jpeg")

    async def test_export_has_each_photo_once(self, store: Store) -> None:
        for fingerprint in (FINGERPRINT, NEW):
            await store.enroll(
                "ada", [template("one", "t1", fingerprint=fingerprint, photo=b"jpeg")]
            )
        await store.enroll("ada", [template("two", "t2")])
        assert (await store.export("ada")).photos == (Photo(digest("one"), b"jpeg"),)

    @pytest.mark.parametrize("deletion", ["subject", "template", "expiry"])
    async def test_photo_goes_with_its_template(
        self, store: Store, clock: Clock, deletion: str
    ) -> None:
        await store.enroll("ada", [template("two")])
        until = clock.now + timedelta(days=1)
        await store.enroll("ada", [template("one", "t1", photo=b"jpeg", expires_at=until)])
        match deletion:
            case "subject":
                await store.delete_subject("ada")
            case "template":
                await store.delete_template("ada", "t1")
            case _:
                clock.now = until
        await store.enroll("ada", [template("one", "t1")])
        assert await store.photo("ada", "t1") == digest("one")

    async def test_photo_of_an_unknown_template_is_not_found(self, store: Store) -> None:
        with pytest.raises(SubjectNotFound):
            await store.photo("ada", "t1")
        await store.enroll("ada", [template("one", "t1")])
        with pytest.raises(TemplateNotFound):
            await store.photo("ada", "t2")


class ChangeContract:
    """Change to another bundle."""

    async def test_templates_are_counted_by_the_bundle_that_made_them(self, store: Store) -> None:
        assert await store.fingerprints() == {}
        await store.enroll("ada", [template("one"), template("two"), template("three")])
        await store.enroll("bob", [template("one"), template("one", fingerprint=NEW)])
        assert await store.fingerprints() == {FINGERPRINT: 4, NEW: 1}

    async def test_photos_without_a_template_of_the_new_bundle_are_listed_in_order(
        self, store: Store
    ) -> None:
        await store.enroll("ada", [template("one", "t1", photo=b"jpeg"), template("two", "t2")])
        await store.enroll("bob", [template("one", "t3"), template("one", fingerprint=NEW)])
        listed = await store.lacking(CHANGE, 0, 100)
        assert [(each.subject, each.template_id, each.has_photo) for each in listed] == [
            ("ada", "t1", True),
            ("ada", "t2", False),
        ]
        assert await store.lack(CHANGE) == MissingCounts(templates=2, without_photo=1)

    async def test_photos_without_a_template_are_read_in_pages(self, store: Store) -> None:
        await store.enroll("ada", [template(f"{n}", f"t{n}") for n in range(5)])
        names, page = [], await store.lacking(CHANGE, 0, 2)
        while page:
            names += [each.template_id for each in page]
            page = await store.lacking(CHANGE, page[-1].number, 2)
        assert names == ["t0", "t1", "t2", "t3", "t4"]

    async def test_photo_of_an_expired_template_is_not_listed(
        self, store: Store, clock: Clock
    ) -> None:
        until = clock.now + timedelta(days=1)
        await store.enroll("ada", [template("one", expires_at=until)])
        clock.now = until
        assert await ids_lacking(store) == []
        assert await store.lack(CHANGE) == MissingCounts(0, 0)

    async def test_added_vector_is_found_under_the_id_of_its_template(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        assert await store.add_vector("ada", "t1", NEW, vector_of("new"))
        assert await found_by(store, "new", NEW) == ["t1"]
        assert await found_by(store, "one", FINGERPRINT) == ["t1"]
        assert await ids_lacking(store) == []

    async def test_added_vector_may_have_its_own_quality(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        await store.add_vector("ada", "t1", NEW, vector_of("new"), quality={"sharpness": 2.5})
        held = {each.fingerprint: each for each in (await store.templates_of("ada")).templates}
        assert held[NEW].quality == {"sharpness": 2.5}
        assert held[FINGERPRINT].quality == template("one").quality

    async def test_vector_is_added_once(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        assert await store.add_vector("ada", "t1", NEW, vector_of("new"))
        assert not await store.add_vector("ada", "t1", NEW, vector_of("newer"))
        assert (await store.count()).templates == 2

    async def test_added_vector_expires_with_its_template(self, store: Store, clock: Clock) -> None:
        until = clock.now + timedelta(days=1)
        await store.enroll("ada", [template("one", "t1", expires_at=until)])
        await store.add_vector("ada", "t1", NEW, vector_of("new"))
        clock.now = until
        assert await found_by(store, "new", NEW) == []

    async def test_new_expiry_counts_for_every_bundle(self, store: Store, clock: Clock) -> None:
        await store.enroll("ada", [template("one", "t1")])
        await store.add_vector("ada", "t1", NEW, vector_of("new"))
        until = clock.now + timedelta(days=1)
        await store.enroll("ada", [template("one", expires_at=until)])
        clock.now = until
        assert await found_by(store, "one", FINGERPRINT) == []
        assert await found_by(store, "new", NEW) == []

    async def test_deleted_template_does_not_come_back(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1"), template("two")])
        await store.delete_template("ada", "t1")
        with pytest.raises(TemplateNotFound):
            await store.add_vector("ada", "t1", NEW, vector_of("new"))
        await store.delete_subject("ada")
        with pytest.raises(SubjectNotFound):
            await store.add_vector("ada", "t1", NEW, vector_of("new"))

    async def test_template_of_another_subject_gets_no_vector(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        await store.enroll("bob", [template("two")])
        with pytest.raises(TemplateNotFound):
            await store.add_vector("bob", "t1", NEW, vector_of("new"))

    async def test_deletion_erases_all_bundles_templates_of_the_photo(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1"), template("two", "t2")])
        await store.add_vector("ada", "t1", NEW, vector_of("new"))
        deleted = await store.delete_template("ada", "t1")
        assert (deleted.subjects, deleted.templates) == (0, 2)
        assert await found_by(store, "new", NEW) == []

    async def test_switch_is_remembered_until_the_next(self, store: Store) -> None:
        assert await store.switched_to() is None
        for fingerprint in (NEW, FINGERPRINT):
            await store.switch_to(fingerprint)
            assert await store.switched_to() == fingerprint

    async def test_forgotten_bundle_leaves_the_others_theirs(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1", photo=b"jpeg")])
        await store.add_vector("ada", "t1", NEW, vector_of("new"))
        await store.enroll("bob", [template("two", "t2")])
        deleted = await store.forget(FINGERPRINT)
        assert (deleted.subjects, deleted.templates) == (1, 2)
        assert await found_by(store, "one", FINGERPRINT) == []
        assert await found_by(store, "new", NEW) == ["t1"]
        assert await store.photo("ada", "t1") == Photo(digest("one"), b"jpeg")
        counts = await store.count()
        assert (counts.subjects, counts.templates) == (1, 1)

    async def test_bundle_that_was_forgotten_can_be_enrolled_again(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        await store.forget(FINGERPRINT)
        await store.enroll("ada", [template("one", "t1")])
        assert await found_by(store, "one", FINGERPRINT) == ["t1"]
