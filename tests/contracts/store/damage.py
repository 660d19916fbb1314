"""The store's contract: damaged values."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from service.errors import StoreDamaged, SubjectNotFound
from service.store import Store, Vault, open_store
from tests.contracts.store.audit import logged
from tests.contracts.store.inside import run
from tests.contracts.store.samples import (
    DIMENSION,
    FINGERPRINT,
    Clock,
    cohort_of,
    names_found,
    template,
)

Harm = Callable[[str], object]


def to_vector(change: Callable[[bytes], bytes]) -> Harm:
    """Return a statement that damages the vector of the template t1."""

    def harm(url: str) -> None:
        ((blob,),) = run(url, "SELECT vector FROM templates WHERE template_id = 't1'")
        run(url, "UPDATE templates SET vector = ? WHERE template_id = 't1'", change(blob))

    return harm


def quality(url: str) -> None:
    run(url, "UPDATE templates SET quality = '{' WHERE template_id = 't1'")


def metadata(url: str) -> None:
    run(url, "UPDATE subjects SET metadata = ? WHERE subject = 'ada'", b"\xff{")


VECTORS = [
    pytest.param(to_vector(lambda blob: blob[:-4]), id="cut"),
    pytest.param(to_vector(lambda blob: blob[:-1]), id="cut within a number"),
    pytest.param(to_vector(lambda blob: blob[:-4] + b"\xff" * 4), id="not a number"),
    pytest.param(to_vector(lambda blob: bytes(len(blob))), id="zeros"),
    pytest.param(to_vector(lambda blob: blob + blob[-4:]), id="longer"),
]


@asynccontextmanager
async def opened_with_damage(
    store: Store, url: str, clock: Clock, vault: Vault, harm: Harm
) -> AsyncIterator[Store]:
    """Enrol ada twice and bob once, damage a value of ada, and open the store again."""
    soon = clock.now + timedelta(days=1)
    new = [template("one", "t1", photo=b"one", expires_at=soon), template("two", "t2")]
    await store.enroll("ada", new, {"of": "ada"})
    await store.enroll("bob", [template("three", "t3")])
    await store.close()
    harm(url)
    again = await open_store(url, clock, vault)
    try:
        await again.compare_by(FINGERPRINT, cohort_of("everybody"), DIMENSION)
        yield again
    finally:
        await again.close()


class DamageContract:
    """Leave out damaged values, name them, and serve all other subjects."""

    @pytest.mark.parametrize("harm", VECTORS)
    async def test_damaged_vector_is_left_out_and_named_and_others_are_served(
        self,
        store: Store,
        url: str,
        clock: Clock,
        vault: Vault,
        harm: Harm,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with caplog.at_level(logging.ERROR, "likeness"):
            async with opened_with_damage(store, url, clock, vault, harm) as again:
                for _ in range(2):
                    assert (await names_found(again, "three"))[0] == "bob"
                    assert (await names_found(again, "two"))[0] == "ada"
                    (held,) = (await again.templates_of("ada")).templates
                    assert held.template_id == "t2"
                    (exported,) = (await again.export("ada")).templates
                    assert exported.template_id == "t2"
                    detail = await again.subject("ada")
                    assert [each.template_id for each in detail.templates] == ["t1", "t2"]
                    (page_of_ada, _) = (await again.subjects(None, 9)).items
                    assert page_of_ada.templates == 2
                    (damage,) = detail.damaged
                    assert (damage.part, damage.template_id) == ("vector", "t1")
                    assert await again.damage() == (damage,)
                assert ("damaged", {"values": 1}) in await logged(again)
        assert "t1" in caplog.text
        assert "'ada'" not in caplog.text
        assert len([each for each in caplog.records if "t1" in each.getMessage()]) == 1
        once_more = await open_store(url, clock, vault)
        await once_more.subject("ada")
        await once_more.damage()
        actions = [action for action, _ in await logged(once_more)]
        await once_more.close()
        assert actions.count("damaged") == 1

    @pytest.mark.parametrize("harm", VECTORS)
    async def test_enrolling_the_photo_of_a_damaged_vector_repairs_it(
        self, store: Store, url: str, clock: Clock, vault: Vault, harm: Harm
    ) -> None:
        async with opened_with_damage(store, url, clock, vault, harm) as again:
            await again.subject("ada")
            enrolled = await again.enroll("ada", [template("one", "t4")])
            assert [(each.template_id, each.created) for each in enrolled.templates] == [
                ("t1", True)
            ]
            assert await again.damage() == ()
            assert (await names_found(again, "one"))[0] == "ada"
            assert {each.template_id for each in (await again.templates_of("ada")).templates} == {
                "t1",
                "t2",
            }
            assert [each.photo for each in (await again.export("ada")).photos] == [b"one"]
            assert (await again.count("")).templates == 3

    @pytest.mark.parametrize(("harm", "part"), [(metadata, "metadata"), (quality, "quality")])
    async def test_damage_outside_the_vector_does_not_stop_recognition(
        self, store: Store, url: str, clock: Clock, vault: Vault, harm: Harm, part: str
    ) -> None:
        async with opened_with_damage(store, url, clock, vault, harm) as again:
            assert len((await again.templates_of("ada")).templates) == 2
            assert (await names_found(again, "one"))[0] == "ada"
            export = await again.export("ada")
            assert [each.part for each in export.damaged] == [part]
            assert len(export.templates) == 2
            assert [each.subject for each in (await again.subjects(None, 9)).items] == [
                "ada",
                "bob",
            ]
            await again.enroll("ada", [template("four")], {"of": "ada again"})
            assert (await again.subject("ada")).metadata == {"of": "ada again"}

    @pytest.mark.parametrize("harm", [*VECTORS[:3], metadata, quality])
    async def test_damaged_subject_can_be_deleted_and_enrolled_again(
        self, store: Store, url: str, clock: Clock, vault: Vault, harm: Harm
    ) -> None:
        async with opened_with_damage(store, url, clock, vault, harm) as again:
            await again.subject("ada")
            assert (await again.delete_subject("ada")).templates == 2
            with pytest.raises(SubjectNotFound):
                await again.subject("ada")
            assert await again.damage() == ()
            await again.enroll("ada", [template("one", "t1")])
            assert (await names_found(again, "one"))[0] == "ada"

    async def test_damage_while_the_store_is_open_affects_no_other_subject(
        self, store: Store, url: str, clock: Clock
    ) -> None:
        await store.enroll("ada", [template("one", "t1")])
        await store.enroll("bob", [template("three", "t3")])
        await names_found(store, "one")
        to_vector(lambda blob: blob[:-4] + b"\xff" * 4)(url)
        assert "bob" in await names_found(store, "three")
        found = await store.templates_of_each(["ada", "bob"])
        assert [len(each.templates) for each in found] == [0, 1]
        assert [len(each.damaged) for each in found] == [1, 0]
        assert [each.template_id for each in await store.damage()] == ["t1"]


class SealedDamageContract:
    """Leave out the values of a subject whose key is damaged."""

    async def test_damaged_key_harms_its_subject_alone(
        self, store: Store, url: str, clock: Clock, vault: Vault
    ) -> None:
        def harm(url: str) -> None:
            ((key_id,),) = run(url, "SELECT key_id FROM subjects WHERE subject = 'ada'")
            ((blob,),) = run(url, "SELECT wrapped FROM data_keys WHERE key_id = ?", key_id)
            run(url, "UPDATE data_keys SET wrapped = ? WHERE key_id = ?", blob[:-1] + b"x", key_id)

        async with opened_with_damage(store, url, clock, vault, harm) as again:
            assert await names_found(again, "three") == ["bob"]
            held = await again.templates_of("ada")
            assert held.templates == ()
            assert {each.part for each in held.damaged} == {"key", "vector"}
            assert (await again.export("ada")).metadata == {}
            with pytest.raises(StoreDamaged, match="Delete the subject"):
                await again.enroll("ada", [template("four")])
            while (await again.reseal(10)).left:
                pass
            await again.delete_subject("ada")
            await again.enroll("ada", [template("one", "t1")])
            assert (await names_found(again, "one"))[0] == "ada"

    async def test_damaged_name_of_a_master_key_is_not_taken_for_a_missing_one(
        self, store: Store, url: str, clock: Clock, vault: Vault
    ) -> None:
        def harm(url: str) -> None:
            ((key_id,),) = run(url, "SELECT key_id FROM subjects WHERE subject = 'ada'")
            run(url, "UPDATE data_keys SET master = 'damaged' WHERE key_id = ?", key_id)

        async with opened_with_damage(store, url, clock, vault, harm) as again:
            assert (await names_found(again, "one"))[0] == "ada"
            assert (await again.export("ada")).metadata == {"of": "ada"}
