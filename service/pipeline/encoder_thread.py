"""The thread that runs an encoder; the event loop sends it work and watches it."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter
from typing import Generic, TypeVar

from models.errors import release
from service.errors import EncoderStalled, EncoderStopped

A = TypeVar("A")
B = TypeVar("B")

logger = logging.getLogger("likeness")


@dataclass(frozen=True, slots=True)
class ForwardPass(Generic[B]):
    """Hold the rows or the error of one forward pass, when it began and how long it took."""

    outcome: Sequence[B] | Exception
    started: float
    """By `time.perf_counter`, which all threads share."""
    seconds: float


class EncoderThread(Generic[A, B]):
    """Run forward passes in order; a pass that raises does not end the thread.

    If a pass runs for more than `watchdog_s`, it and all waiting passes fail. The thread counts as
    stalled until it answers again.
    """

    def __init__(self, embed: Callable[[Sequence[A]], Sequence[B]], watchdog_s: float) -> None:
        self._embed = embed
        self._watchdog_s = watchdog_s
        self._loop = asyncio.get_running_loop()
        self._orders: SimpleQueue[tuple[Sequence[A], asyncio.Future[ForwardPass[B]]] | None] = (
            SimpleQueue()
        )
        self._unanswered: deque[asyncio.Future[ForwardPass[B]]] = deque()
        self._watchdog: asyncio.Handle | None = None
        self._ended = False
        self.stalled = False
        # A daemon thread, so that the process can end while a pass hangs.
        self._thread = threading.Thread(target=self._serve, name="encoder", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs and no pass hangs."""
        return not self._ended and not self.stalled and self._thread.is_alive()

    def order(self, items: Sequence[A]) -> asyncio.Future[ForwardPass[B]]:
        """Queue a forward pass; the future may fail with EncoderStalled or EncoderStopped.

        A pass whose future is cancelled before its turn is not computed.
        """
        future: asyncio.Future[ForwardPass[B]] = self._loop.create_future()
        if self.stalled:
            future.set_exception(EncoderStalled("A forward pass hangs."))
        elif not self.alive:
            future.set_exception(EncoderStopped("The encoder's thread has stopped."))
        else:
            self._unanswered.append(future)
            if len(self._unanswered) == 1:
                self._watch()
            self._orders.put((items, future))
        return future

    def stop(self) -> None:
        """Stop the thread after its current pass, without waiting for it."""
        self._orders.put(None)
        self._end()

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                result = self._run(*order)
            except BaseException:
                # Not an error of the batch: the thread itself must end. Fail all waiting passes.
                logger.exception("the encoder's thread stops")
                self._call_loop(self._end)
                return
            self._call_loop(self._answer, result)
            # Free crops and rows while the thread waits for the next order.
            del order, result

    def _run(self, items: Sequence[A], future: "asyncio.Future[ForwardPass[B]]") -> ForwardPass[B]:
        started = perf_counter()
        if future.done():
            return ForwardPass((), started, 0.0)  # no caller waits for it any more
        try:
            outcome: Sequence[B] | Exception = list(self._embed(items))
        except Exception as exc:
            # A retry needs the memory of its tensors.
            release(exc)
            outcome = exc
        return ForwardPass(outcome, started, perf_counter() - started)

    def _call_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so no caller waits
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _answer(self, result: ForwardPass[B]) -> None:
        if self._ended:
            return
        future = self._unanswered.popleft()
        self.stalled = False
        self._watch()
        if not future.done():
            future.set_result(result)

    def _watch(self) -> None:
        """Start the watchdog for the oldest pass, if there is one."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = (
            self._loop.call_later(self._watchdog_s, self._suspect) if self._unanswered else None
        )

    def _suspect(self) -> None:
        # If the loop itself hung, the answer has arrived already and is handled first.
        self._watchdog = self._loop.call_soon(self._stall)

    def _stall(self) -> None:
        self.stalled = True
        self._fail(EncoderStalled, f"A forward pass takes more than {self._watchdog_s:g} seconds.")

    def _end(self) -> None:
        self._ended = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._fail(EncoderStopped, "The encoder's thread has stopped.")

    def _fail(self, error: type[EncoderStalled | EncoderStopped], sentence: str) -> None:
        for future in self._unanswered:
            if not future.done():
                future.set_exception(error(sentence))
