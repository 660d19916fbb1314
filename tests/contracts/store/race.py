"""The store's contract: concurrent operations."""

import asyncio
import random
from datetime import timedelta

import pytest

from service.errors import StoreError, TemplateIdTaken
from service.store import Idempotency, Store
from tests.contracts.store.samples import Clock, assert_search_agrees, template


class RaceContract:
    """Enrol and delete concurrently."""

    async def test_many_enrolments_of_one_image_make_one_template(self, store: Store) -> None:
        outcomes = await asyncio.gather(
            *[store.enroll("ada", [template("one")]) for _ in range(64)]
        )
        each = [outcome.templates[0] for outcome in outcomes]
        assert sum(one.created for one in each) == 1
        assert len({one.template_id for one in each}) == 1
        assert (await store.count()).templates == 1

    async def test_many_requests_with_one_key_have_one_effect(self, store: Store) -> None:
        outcomes = await asyncio.gather(
            *[
                store.enroll("ada", [template(f"i{i}")], None, Idempotency("k", "d"))
                for i in range(16)
            ]
        )
        assert sum(not outcome.replayed for outcome in outcomes) == 1
        assert (await store.count()).templates == 1

    async def test_refused_enrolment_harms_no_neighbour(self, store: Store) -> None:
        await store.enroll("ada", [template("one", "t1")])
        outcomes = await asyncio.gather(
            *[
                store.enroll("ada", [template(f"i{i}", "t1" if i % 3 == 0 else None)])
                for i in range(30)
            ],
            return_exceptions=True,
        )
        refused = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, TemplateIdTaken)]
        assert refused == list(range(0, 30, 3))
        assert (await store.count()).templates == 21

    async def test_enrolment_racing_a_deletion_leaves_no_half(
        self, store: Store, clock: Clock
    ) -> None:
        for turn in range(10):
            await store.enroll("ada", [template("one")])
            await asyncio.gather(
                store.enroll("ada", [template(f"two{turn}")]),
                store.delete_subject("ada"),
                store.enroll("ada", [template("one"), template(f"three{turn}")]),
            )
            await assert_search_agrees(store, clock.now)

    @pytest.mark.parametrize("seed", range(3))
    async def test_search_agrees_with_the_stored_templates_after_any_operations(
        self, store: Store, clock: Clock, seed: int
    ) -> None:
        dice = random.Random(seed)

        async def act(number: int) -> None:
            subject, image = f"s{dice.randrange(6)}", f"i{dice.randrange(12)}"
            name = f"t{dice.randrange(20)}"
            match dice.randrange(9):
                case 0:
                    await store.delete_subject(subject)
                case 8:
                    await store.rename_subject(subject, f"s{dice.randrange(6)}")
                case 1 | 2:
                    await store.delete_template(subject, name)
                case 3:
                    soon = clock.now + timedelta(seconds=1 + dice.randrange(5))
                    await store.enroll(subject, [template(image, name, expires_at=soon)])
                case 4:
                    new = template(image, name, fingerprint="other")
                    await store.enroll(subject, [template(f"n{number}"), new])
                case _:
                    await store.enroll(subject, [template(image, name)])

        for turn in range(12):
            outcomes = await asyncio.gather(
                *[act(turn * 12 + i) for i in range(12)], return_exceptions=True
            )
            surprises = [o for o in outcomes if o is not None and not isinstance(o, StoreError)]
            assert surprises == []
            clock.now += timedelta(seconds=1)
            await assert_search_agrees(store, clock.now)
