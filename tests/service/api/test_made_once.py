"""What is the same for everybody is made for all who ask at a time, and never stale."""

import asyncio

import pytest

from service.api.made_once import Shared


class Counted:
    """Count how often something is made, and let the test say when it is done."""

    def __init__(self) -> None:
        self.made = 0
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def make(self) -> int:
        self.made += 1
        number = self.made
        self.begun.set()
        await self.may_end.wait()
        return number


async def test_all_who_ask_while_one_is_made_share_the_next_one() -> None:
    counted = Counted()
    shared = Shared(counted.make, 0.0)
    first = asyncio.create_task(shared.get())
    await counted.begun.wait()
    crowd = [asyncio.create_task(shared.get()) for _ in range(100)]
    counted.may_end.set()
    assert await first == 1
    assert set(await asyncio.gather(*crowd)) == {2}


async def test_whoever_leaves_takes_the_answer_from_nobody() -> None:
    counted = Counted()
    shared = Shared(counted.make, 0.0)
    leaves, stays = (asyncio.create_task(shared.get()) for _ in range(2))
    await counted.begun.wait()
    leaves.cancel()
    counted.may_end.set()
    assert await stays == 1


async def test_failure_is_that_of_those_who_asked_for_it() -> None:
    tries = iter((ValueError("away"), None))

    async def make() -> str:
        if (error := next(tries)) is not None:
            raise error
        return "made"

    shared = Shared(make, 0.0)
    with pytest.raises(ValueError, match="away"):
        await shared.get()
    assert await shared.get() == "made"
