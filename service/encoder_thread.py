"""The one thread that runs an encoder, asked from the event loop."""

import asyncio
import logging
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter
from typing import Generic, TypeVar

from models.errors import LikenessError
from service.errors import EncoderStopped

A = TypeVar("A")
B = TypeVar("B")

logger = logging.getLogger("likeness")


@dataclass(frozen=True, slots=True)
class Pass(Generic[B]):
    """Hold what one forward pass gave, or what it raised, and how long it took."""

    outcome: Sequence[B] | Exception
    seconds: float


class EncoderThread(Generic[A, B]):
    """Run forward passes one after the other; a pass that raises does not end the thread."""

    def __init__(self, embed: Callable[[Sequence[A]], Sequence[B]]) -> None:
        self._embed = embed
        self._loop = asyncio.get_running_loop()
        self._orders: SimpleQueue[tuple[Sequence[A], asyncio.Future[Pass[B]]] | None] = (
            SimpleQueue()
        )
        # A daemon: a pass that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name="encoder", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Tell whether the thread takes orders."""
        return self._thread.is_alive()

    def order(self, items: Sequence[A]) -> asyncio.Future[Pass[B]]:
        """Ask for a pass; the future fails with EncoderStopped if the thread is dead."""
        future: asyncio.Future[Pass[B]] = self._loop.create_future()
        if self.alive:
            self._orders.put((items, future))
        else:
            future.set_exception(EncoderStopped("The encoder's thread has ended."))
        return future

    def stop(self) -> None:
        """Let the thread end after what it is doing; nobody waits for it."""
        self._orders.put(None)

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            items, future = order
            started = perf_counter()
            try:
                outcome: Sequence[B] | Exception = self._embed(items)
            except Exception as exc:
                outcome = exc
            except BaseException:
                # Not an error of the batch: the thread is told to end. Who waits must know.
                logger.exception("the encoder's thread ends")
                self._tell(_fail, future)
                return
            if isinstance(outcome, Exception):
                _release(outcome)
            self._tell(_fulfil, future, Pass(outcome, perf_counter() - started))

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(what, *arguments)


def _release(error: BaseException) -> None:
    """Empty the frames of a traceback: they pin the tensors that a retry needs room for."""
    if not isinstance(error, LikenessError):
        logger.error("a forward pass failed", exc_info=error)
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


def _fulfil(future: "asyncio.Future[Pass[B]]", result: Pass[B]) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Pass[B]]") -> None:
    if not future.done():
        future.set_exception(EncoderStopped("The encoder's thread has ended."))
