"""How many crops fit in one forward pass: learnt from memory errors, regained with care."""


class BatchLimit:
    """Hold the largest batch that fits; always a power of two, at most `max_batch`.

    Running out of memory halves it. Full batches that succeed earn a try at twice the size;
    every try that fails doubles what the next one costs, so that a limit set by the memory
    itself is not tested for ever.
    """

    def __init__(self, max_batch: int, patience: int = 64) -> None:
        self._most = 1 << (max_batch.bit_length() - 1)
        self._patience = patience
        self._streak = 0
        self.value = self._most

    def bucket(self, waiting: int) -> int:
        """Return the largest batch shape that `waiting` crops fill: 1, 2, 4, ... the limit."""
        return min(self.value, 1 << (waiting.bit_length() - 1))

    def buckets(self) -> list[int]:
        """Return all shapes there are, smallest first."""
        return [1 << power for power in range(self._most.bit_length())]

    def fitted(self, size: int) -> None:
        """Note that a batch of this size succeeded."""
        if size < self.value or self.value == self._most:
            return
        self._streak += 1
        if self._streak >= self._patience:
            self._streak = 0
            self.value *= 2

    def overflowed(self, size: int) -> None:
        """Note that a batch of this size did not fit."""
        if size <= self.value:
            self.value = max(1, size // 2)
            self._patience *= 2
        self._streak = 0
