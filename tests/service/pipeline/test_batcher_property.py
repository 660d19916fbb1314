"""In any mix and any order of crops, each caller gets their own row or their own error."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DegenerateVector, LikenessError, OutOfMemory
from service.errors import DeadlinePassed, EncoderFailed
from tests.service.batching import Encoder, Rule, Task, batching, outcomes, submitted

Kind = Literal["fine", "poison", "degenerate", "late", "leaving"]
Step = Literal["turn", "hold", "let_go", "leave"]
KINDS: tuple[Kind, ...] = ("fine", "fine", "fine", "poison", "degenerate", "late", "leaving")
STEPS: tuple[Step, ...] = ("turn", "hold", "let_go", "leave")


@dataclass(frozen=True, slots=True)
class Caller:
    kind: Kind
    name: int
    then: Step

    def allows(self, number: int, outcome: int | type[BaseException]) -> bool:
        expected: dict[Kind, tuple[int | type[BaseException], ...]] = {
            "fine": (10 * number,),
            "poison": (EncoderFailed,),
            "degenerate": (DegenerateVector,),
            "late": (DeadlinePassed,),
            "leaving": (10 * number, asyncio.CancelledError),
        }
        return outcome in expected[self.kind]


callers = st.lists(
    st.builds(Caller, st.sampled_from(KINDS), st.integers(0, 3), st.sampled_from(STEPS)),
    min_size=1,
    max_size=24,
)
batches = st.sampled_from([1, 2, 4, 8])


@settings(max_examples=60, deadline=None)
@given(callers, batches, batches, st.integers(0, 1))
def test_every_caller_gets_their_own_row_or_their_own_error(
    script: list[Caller], max_batch: int, room: int, prefetch: int
) -> None:
    encoder = Encoder(rule_of(script, room))
    results = asyncio.run(play(script, encoder, max_batch, prefetch))
    wrong = [
        (caller, outcome)
        for number, (caller, outcome) in enumerate(zip(script, results, strict=True))
        if not caller.allows(number, outcome)
    ]
    assert wrong == []
    computed = {number for batch in encoder.batches for number in batch}
    assert not {n for n in computed if script[n].kind == "late"}


async def play(
    script: Sequence[Caller], encoder: Encoder, max_batch: int, prefetch: int
) -> list[int | type[BaseException]]:
    tasks: list[Task] = []
    async with batching(encoder, max_batch=max_batch, prefetch=prefetch) as batcher:
        for number, caller in enumerate(script):
            late = asyncio.get_running_loop().time() if caller.kind == "late" else None
            tasks += await submitted(batcher, number, caller=caller.name, deadline=late)
            match caller.then:
                case "turn":
                    await asyncio.sleep(0)
                case "hold":
                    encoder.hold()
                case "let_go":
                    encoder.let_go()
                case "leave":
                    leave(script, tasks)
        leave(script, tasks)
        encoder.let_go()
        return await outcomes(tasks)


def leave(script: Sequence[Caller], tasks: Sequence[Task]) -> None:
    for caller, task in zip(script, tasks, strict=False):
        if caller.kind == "leaving":
            task.cancel()


def rule_of(script: Sequence[Caller], room: int) -> Rule:
    def rule(numbers: list[int]) -> list[int | LikenessError]:
        if len(numbers) > room:
            raise OutOfMemory("Too many.")
        if any(script[number].kind == "poison" for number in numbers):
            raise ValueError("poison")
        return [
            DegenerateVector("NaN") if script[number].kind == "degenerate" else 10 * number
            for number in numbers
        ]

    return rule
