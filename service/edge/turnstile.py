"""Let callers who are not known yet begin a few at a time, so that crowds delay no others."""

import asyncio
from collections import deque


class Turnstile:
    """Count who begins in each turn of the event loop; owned by that loop.

    What hundreds of connections ask for at once would otherwise be done in one turn, and all who
    are served already would wait for it at their every step.
    """

    def __init__(self, each_turn: int) -> None:
        self._each_turn = each_turn
        self._left = each_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_turning = False

    async def go_through(self) -> None:
        """Wait until it is this caller's turn; nothing has to be given back."""
        self._keep_turning()
        if self._left and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _keep_turning(self) -> None:
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_turning = False
        self._left = self._each_turn
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled
                turn.set_result(None)
                self._left -= 1
        if self._left < self._each_turn:
            self._keep_turning()
