"""Let the bundle that does not serve decide too, on the quiet: nobody waits for what it says."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Final

from models.decision import Outcome, Rate
from models.errors import FingerprintMismatch, Uncalibrated, UnknownOperatingPoint
from models.evaluation.rates import proportion
from service.errors import OverloadError, SubjectNotFound, TemplatesDamaged, TemplatesExpired
from service.observe.metrics import Metrics, Unshadowed
from service.pipeline.caller import Caller
from service.pipeline.pipeline import Pipeline
from service.recognition.compare import Comparing, rule_of
from service.recognition.recogniser import Recogniser
from service.schemas.recognition import VerifyAnswer
from service.schemas.requests import VerifyRequest
from service.settings import Settings
from service.store import Store

logger = logging.getLogger("likeness")

# Each holds its photos until its turn, and one has its turn at a time: who enrols by the same
# bundle, and who is served by the same cores, should not notice.
_MOST: Final = 8


@dataclass(slots=True)
class Tally:
    """Count what two bundles decided on the same photos, and what only one of them decided."""

    decisions: Counter[tuple[Outcome, Outcome]] = field(default_factory=Counter)
    dropped: Counter[Unshadowed] = field(default_factory=Counter)

    @property
    def compared(self) -> int:
        """Return how many requests both decided."""
        return self.decisions.total()

    @property
    def disagreement(self) -> Rate | None:
        """Return the share that they decided differently; None of none.

        Its interval takes requests as independent: where few subjects ask often, it is wider.
        """
        if not self.compared:
            return None
        apart = sum(count for (live, other), count in self.decisions.items() if live != other)
        return proportion(apart, self.compared)


class Shadow:
    """Decide a share of what the live bundle has answered by the other of two bundles."""

    def __init__(
        self,
        recognisers: tuple[Recogniser, Recogniser],
        store: Store,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        # Its photos have been counted once, when they were answered.
        unseen = Metrics()
        self._by_live = {
            live.fingerprint: Comparing(_quiet(other, unseen), store, unseen, settings.face_policy)
            for live, other in (recognisers, recognisers[::-1])
        }
        self._tallies = {fingerprint: Tally() for fingerprint in self._by_live}
        self._turn = asyncio.Semaphore(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def tally(self, live: str) -> Tally:
        """Return the counts since the start, for the bundle of this fingerprint being live."""
        return self._tallies[live]

    async def offer(self, form: VerifyRequest, answer: VerifyAnswer) -> None:
        """Take a request that has been answered, or drop it; returns at once.

        It waits for nothing; but what is not async, the framework runs in a thread.
        """
        if random.random() >= self._settings.shadow:
            return
        if len(self._tasks) >= _MOST:
            self._drop(answer, "busy")
            return
        task = asyncio.create_task(self._decide(form, answer))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(done, answer))

    async def close(self) -> None:
        """Forget what waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _decide(self, form: VerifyRequest, answer: VerifyAnswer) -> None:
        comparing = self._by_live[answer.fingerprint]
        if form.threshold is not None:
            raise Uncalibrated("A similarity of the live bundle means nothing to the other one.")
        rule = rule_of(form, comparing.recogniser.bundle, self._settings.operating_point)
        async with self._turn:
            started = perf_counter()
            compared = await comparing.compare(form, Caller.of(self._settings))
            seconds = perf_counter() - started
        outcome = rule.decide(compared.similarity, compared.conditions).outcome
        self._metrics.shadowed(answer.decision, outcome, seconds)
        self._metrics.shadow_score(answer.fingerprint, answer.similarity)
        self._metrics.shadow_score(comparing.recogniser.fingerprint, compared.similarity)
        self.tally(answer.fingerprint).decisions[answer.decision, outcome] += 1

    def _done(self, task: asyncio.Task[None], answer: VerifyAnswer) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._drop(answer, _reason(error))

    def _drop(self, answer: VerifyAnswer, reason: Unshadowed) -> None:
        self._metrics.shadow_dropped(reason)
        self.tally(answer.fingerprint).dropped[reason] += 1


@asynccontextmanager
async def open_shadow(
    first: Recogniser,
    second: Recogniser | None,
    store: Store,
    settings: Settings,
    metrics: Metrics,
) -> AsyncIterator[Shadow | None]:
    """Give what shadows, if the settings ask for it and there are two bundles."""
    if second is None or settings.shadow == 0:
        yield None
        return
    shadow = Shadow((first, second), store, settings, metrics)
    try:
        yield shadow
    finally:
        await shadow.close()


def _quiet(recogniser: Recogniser, metrics: Metrics) -> Recogniser:
    """Return the same with its photos observed elsewhere."""
    pool, batcher = recogniser.pool, recogniser.batcher
    pipeline = Pipeline(pool, batcher, recogniser.embedder.template, metrics, width=2)
    return replace(recogniser, pipeline=pipeline)


def _reason(error: BaseException) -> Unshadowed:
    match error:
        case SubjectNotFound() | TemplatesExpired() | TemplatesDamaged() | FingerprintMismatch():
            return "no_template"
        case Uncalibrated() | UnknownOperatingPoint():
            return "no_point"
        case OverloadError():
            return "busy"
        case _:
            logger.error("the other bundle failed to decide", exc_info=error)
            return "failed"
