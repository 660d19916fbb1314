"""Search templates exactly, on float32 matrices in memory."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from service.store.records import Candidate

_INITIAL_ROWS = 64
_OPTIMISTIC_TRIES = 3
_NEVER = float("inf")

# Collection, fingerprint and dimension.
_Space = tuple[str, str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Hold what a search needs of a template; `vector` is (d,) float32 of unit length."""

    template_id: str
    subject: str
    fingerprint: str
    vector: NDArray[np.float32]
    expires_at: datetime | None
    collection: str = ""


class VectorIndex:
    """Hold a matrix per collection, fingerprint and dimension; safe to search while it changes.

    The lock is held to change rows and to read the result, not for the product: an addition
    writes behind the rows a running search looks at, or moves all of them to a larger matrix
    and leaves the old one to it. Only a removal disturbs rows in use. It counts up `removals`,
    and a search that sees another count at its end than at its start is done again, at last
    with the lock held. So neither searches nor the writer wait for each other, and what was
    removed before a search began, or while it ran, is never found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._matrices: dict[_Space, _Matrix] = {}
        self._spaces: dict[str, set[_Space]] = {}

    def __len__(self) -> int:
        return len(self._spaces)

    def apply(self, removed: Iterable[str], added: Iterable[Entry]) -> None:
        """Remove ids with all their templates, then add or replace others, in one step."""
        with self._lock:
            left: set[_Space] = set()
            for template_id in removed:
                for space in self._spaces.pop(template_id, ()):
                    self._matrices[space].remove(template_id)
                    left.add(space)
            for entry in added:
                space = (entry.collection, entry.fingerprint, len(entry.vector))
                spaces = self._spaces.setdefault(entry.template_id, set())
                matrix = self._matrices.setdefault(space, _Matrix(space[2]))
                if space in spaces:
                    matrix.remove(entry.template_id)
                spaces.add(space)
                matrix.add(entry)
            # Last: a search that runs must not lose what is replaced here.
            for space in left:
                if not len(self._matrices[space]):
                    del self._matrices[space]

    def forget(self, fingerprint: str) -> None:
        """Remove every template of a bundle."""
        with self._lock:
            for space in [space for space in self._matrices if space[1] == fingerprint]:
                del self._matrices[space]
            for template_id in list(self._spaces):
                left = {space for space in self._spaces[template_id] if space[1] != fingerprint}
                if left:
                    self._spaces[template_id] = left
                else:
                    del self._spaces[template_id]

    def search(
        self,
        vector: NDArray[np.float32],
        fingerprint: str,
        limit: int,
        now: datetime,
        collection: str = "",
    ) -> list[Candidate]:
        """Return the `limit` most similar subjects by their best unexpired template, best first.

        `vector` is (d,) float32 of unit length. Equal similarities are ordered by subject.
        """
        matrix = self._matrices.get((collection, fingerprint, len(vector)))
        if matrix is None or limit < 1:
            return []
        for _ in range(_OPTIMISTIC_TRIES):
            with self._lock:
                view = matrix.view()
            scores = view.scores(vector, now)
            with self._lock:
                if matrix.removals == view.removals:
                    return matrix.best(scores, limit)
        with self._lock:
            return matrix.best(matrix.view().scores(vector, now), limit)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Hold rows as they were: (n, d) float32, and (n,) float64 seconds since the epoch."""

    rows: NDArray[np.float32]
    expires_s: NDArray[np.float64]
    removals: int

    def scores(self, vector: NDArray[np.float32], now: datetime) -> NDArray[np.float32]:
        """Return (n,) float32 cosines, -inf where the template has expired."""
        scores: NDArray[np.float32] = self.rows @ vector
        np.clip(scores, -1.0, 1.0, out=scores)
        scores[self.expires_s <= now.timestamp()] = -np.inf
        return scores


class _Matrix:
    """Hold the rows of one collection and fingerprint; guarded by the lock of the index."""

    def __init__(self, dimension: int) -> None:
        self.removals = 0
        self._rows = np.zeros((_INITIAL_ROWS, dimension), np.float32)
        self._expires_s = np.full(_INITIAL_ROWS, _NEVER)
        self._names: list[tuple[str, str]] = []  # (subject, template_id) per row
        self._row_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._names)

    def view(self) -> _View:
        size = len(self._names)
        return _View(self._rows[:size], self._expires_s[:size], self.removals)

    def add(self, entry: Entry) -> None:
        row = len(self._names)
        if row == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._expires_s = np.concatenate([self._expires_s, np.full(row, _NEVER)])
        self._rows[row] = entry.vector
        self._expires_s[row] = _NEVER if entry.expires_at is None else entry.expires_at.timestamp()
        self._names.append((entry.subject, entry.template_id))
        self._row_of[entry.template_id] = row

    def remove(self, template_id: str) -> None:
        """Put the last row in the place of the removed one, and leave nothing of it behind."""
        self.removals += 1
        row, last = self._row_of.pop(template_id), len(self._names) - 1
        moved = self._names.pop()
        if row != last:
            self._names[row] = moved
            self._row_of[moved[1]] = row
            self._rows[row] = self._rows[last]
            self._expires_s[row] = self._expires_s[last]
        self._rows[last] = 0.0

    def best(self, scores: NDArray[np.float32], limit: int) -> list[Candidate]:
        """Return the best row of each of the `limit` best subjects; `scores` is (n,) float32."""
        wanted = limit
        while True:
            found = self._best_of(scores, _best_rows(scores, wanted))
            if len(found) >= limit or wanted >= len(scores):
                return found[:limit]
            # The best rows belong to few subjects: look at more of them.
            wanted *= 4

    def _best_of(self, scores: NDArray[np.float32], rows: Sequence[int]) -> list[Candidate]:
        ordered = sorted((-float(scores[row]), *self._names[row]) for row in rows)
        best: dict[str, Candidate] = {}
        for negated, subject, template_id in ordered:
            best.setdefault(subject, Candidate(subject, template_id, -negated))
        return list(best.values())


def _best_rows(scores: NDArray[np.float32], wanted: int) -> list[int]:
    """Return the rows of the `wanted` highest scores and of all equal to the lowest of them."""
    if wanted < len(scores):
        lowest = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
    else:
        lowest = np.float32(-1.0)
    # An expired row scores -inf and is left out even where few others remain.
    found: list[int] = np.flatnonzero(scores >= max(lowest, np.float32(-1.0))).tolist()
    return found
