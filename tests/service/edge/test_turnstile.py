"""Strangers begin a few in each turn of the event loop, in their order."""

import asyncio

from service.edge.turnstile import Turnstile


async def test_crowd_begins_a_few_at_a_time_and_in_its_order() -> None:
    turnstile = Turnstile(3)
    begun: list[int] = []

    async def begin(number: int) -> None:
        await turnstile.go_through()
        begun.append(number)

    crowd = [asyncio.create_task(begin(number)) for number in range(20)]
    most, before = 0, 0
    while len(begun) < len(crowd):
        await asyncio.sleep(0)
        most, before = max(most, len(begun) - before), len(begun)
    assert begun == list(range(20))
    assert most == 3


async def test_whoever_leaves_the_queue_holds_up_nobody() -> None:
    turnstile = Turnstile(1)
    first, leaves, last = (asyncio.create_task(turnstile.go_through()) for _ in range(3))
    await first
    leaves.cancel()
    await asyncio.wait_for(last, 5)
    await asyncio.wait_for(turnstile.go_through(), 5)
