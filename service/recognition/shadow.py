"""Shadow decisions: the bundle that does not serve decides too, after the answer is sent."""

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
from service.observe.metrics import Metrics, ShadowDropReason
from service.pipeline.decode import Caller
from service.pipeline.pipeline import Pipeline
from service.recognition.matcher import Matcher
from service.recognition.recogniser import Recogniser
from service.recognition.thresholds import rule_of
from service.schemas.recognition import VerifyAnswer
from service.schemas.requests import VerifyRequest
from service.settings import Settings
from service.store.protocol import Gallery

logger = logging.getLogger("likeness")

# The most requests that wait to be decided again. Each keeps its photos in memory, and only one
# is decided at a time, so that enrolments and other requests are not slowed down.
_MAX_WAITING: Final = 8


@dataclass(slots=True)
class Tally:
    """Count the decisions of two bundles on the same photos, and the requests left out."""

    decisions: Counter[tuple[Outcome, Outcome]] = field(default_factory=Counter)
    dropped: Counter[ShadowDropReason] = field(default_factory=Counter)

    @property
    def compared(self) -> int:
        """Return how many requests both bundles decided."""
        return self.decisions.total()

    @property
    def disagreement(self) -> Rate | None:
        """Return the share of requests that they decided differently; None before the first.

        The confidence interval takes requests as independent: it is too narrow if a few subjects
        make many requests.
        """
        if not self.compared:
            return None
        apart = sum(count for (live, other), count in self.decisions.items() if live != other)
        return proportion(apart, self.compared)


class Shadow:
    """Decide a share of the answered requests again, by the other of two bundles."""

    def __init__(
        self,
        recognisers: tuple[Recogniser, Recogniser],
        store: Gallery,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        # The photos were counted when the request was answered: these metrics are not shown.
        hidden = Metrics()
        self._matchers = {
            live.fingerprint: Matcher(
                _with_metrics(other, hidden), store, hidden, settings.face_policy
            )
            for live, other in (recognisers, recognisers[::-1])
        }
        self._tallies = {fingerprint: Tally() for fingerprint in self._matchers}
        self._turn = asyncio.Semaphore(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def tally(self, live: str) -> Tally:
        """Return the counts since the start while the bundle of this fingerprint was live."""
        return self._tallies[live]

    async def offer(self, form: VerifyRequest, answer: VerifyAnswer) -> None:
        """Take an answered request, or drop it; return at once.

        It is async, although it never waits, because the framework would run a plain function in
        a thread.
        """
        if random.random() >= self._settings.shadow:
            return
        if len(self._tasks) >= _MAX_WAITING:
            self._drop(answer, "busy")
            return
        task = asyncio.create_task(self._decide(form, answer))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._finish(task, answer))

    async def close(self) -> None:
        """Cancel the decisions that still wait."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _decide(self, form: VerifyRequest, answer: VerifyAnswer) -> None:
        matcher = self._matchers[answer.fingerprint]
        if form.threshold is not None:
            raise Uncalibrated(
                "A threshold of the live bundle has no meaning for the other bundle."
            )
        rule = rule_of(form, matcher.recogniser.bundle, self._settings.operating_point)
        async with self._turn:
            started = perf_counter()
            comparison = await matcher.compare(form, Caller.of(self._settings))
            seconds = perf_counter() - started
        outcome = rule.decide(comparison.similarity, comparison.conditions).outcome
        self._metrics.shadowed(answer.decision, outcome, seconds)
        self._metrics.shadow_score(answer.fingerprint, answer.similarity)
        self._metrics.shadow_score(matcher.recogniser.fingerprint, comparison.similarity)
        self.tally(answer.fingerprint).decisions[answer.decision, outcome] += 1

    def _finish(self, task: asyncio.Task[None], answer: VerifyAnswer) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._drop(answer, _reason(error))

    def _drop(self, answer: VerifyAnswer, reason: ShadowDropReason) -> None:
        self._metrics.shadow_dropped(reason)
        self.tally(answer.fingerprint).dropped[reason] += 1


@asynccontextmanager
async def open_shadow(
    first: Recogniser,
    second: Recogniser | None,
    store: Gallery,
    settings: Settings,
    metrics: Metrics,
) -> AsyncIterator[Shadow | None]:
    """Yield a Shadow if the settings ask for it and there are two bundles, or None."""
    if second is None or settings.shadow == 0:
        yield None
        return
    shadow = Shadow((first, second), store, settings, metrics)
    try:
        yield shadow
    finally:
        await shadow.close()


def _with_metrics(recogniser: Recogniser, metrics: Metrics) -> Recogniser:
    """Return the recogniser with other metrics for its photos."""
    pool, batcher = recogniser.pool, recogniser.batcher
    pipeline = Pipeline(pool, batcher, recogniser.embedder.template, metrics, width=2)
    return replace(recogniser, pipeline=pipeline)


def _reason(error: BaseException) -> ShadowDropReason:
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
