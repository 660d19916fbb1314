"""An exact search of templates, on float32 matrices in memory.

A score is a cosine minus half of both vectors' cohort means (see `models.cohort`). Half of the
cohort mean is kept beside each row, so that the matrix holds plain vectors and another cohort
changes one column only.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from models.cohort import LOWEST_SCORE, NO_COHORT, Cohort
from service.store.cohorts import Cohorts, fitting
from service.store.records import Candidate

_INITIAL_ROWS = 64
_OPTIMISTIC_TRIES = 3
_NEVER = float("inf")
_HALF = np.float32(0.5)

# Collection, fingerprint and dimension.
_Space = tuple[str, str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Hold the fields of a template that a search needs; `vector` is (d,) float32, unit length."""

    template_id: str
    subject: str
    fingerprint: str
    vector: NDArray[np.float32]
    expires_at: datetime | None
    collection: str = ""


class VectorIndex:
    """Hold a matrix per collection, fingerprint and dimension; safe to search while it changes.

    A search holds the lock to take a view and to read the result, but not for the matrix product.
    An addition writes after the rows that a running search uses, or copies all rows to a larger
    matrix and leaves the old one to the search. Only a removal changes rows in use. It increments
    `removals`; if a search finds another count at its end than at its start, it runs again, and
    after several attempts it holds the lock throughout. So searches and the writer do not wait
    for each other, and a template that was removed before or during a search is never found.

    A new cohort is set in the same way: its column is computed without the lock and replaces the
    old column in one step, while running searches keep the old one. Every search uses one cohort.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._placing = threading.Lock()  # held while a cohort is set, one at a time
        self._cohorts = Cohorts()
        self._matrices: dict[_Space, _Matrix] = {}
        self._spaces: dict[str, set[_Space]] = {}

    def __len__(self) -> int:
        return len(self._spaces)

    def apply(self, removed: Iterable[str], added: Iterable[Entry]) -> None:
        """Remove all templates of some ids, then add or replace others, in one step."""
        with self._lock:
            left: set[_Space] = set()
            for template_id in removed:
                for space in self._spaces.pop(template_id, ()):
                    self._matrices[space].remove(template_id)
                    left.add(space)
            for entry in added:
                space = (entry.collection, entry.fingerprint, len(entry.vector))
                spaces = self._spaces.setdefault(entry.template_id, set())
                matrix = self._matrices.get(space)
                if matrix is None:
                    matrix = _Matrix(space[2], self._cohorts.of(*space[1:]))
                    self._matrices[space] = matrix
                if space in spaces:
                    matrix.remove(entry.template_id)
                spaces.add(space)
                matrix.add(entry)
            # At the end, so that a running search does not lose replaced templates.
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

    def count(self, fingerprint: str) -> int:
        """Count the templates of a bundle, including expired ones."""
        with self._lock:
            return sum(len(matrix) for matrix in self._of(fingerprint))

    def compare_by(self, fingerprint: str, cohort: Cohort) -> None:
        """Score all templates of a bundle by a cohort, now and from now on."""
        with self._placing:
            with self._lock:
                self._cohorts.put(fingerprint, cohort)
                matrices = self._of(fingerprint)
            for matrix in matrices:
                self._compare_by(matrix, cohort)

    def _of(self, fingerprint: str) -> list["_Matrix"]:
        return [matrix for space, matrix in self._matrices.items() if space[1] == fingerprint]

    def _compare_by(self, matrix: "_Matrix", cohort: Cohort) -> None:
        for _ in range(_OPTIMISTIC_TRIES):
            with self._lock:
                view = matrix.view()
            commons = fitting(cohort, view.rows.shape[1]).means(view.rows) * _HALF
            with self._lock:
                if matrix.removals == view.removals:
                    matrix.compare_by(cohort, commons)
                    return
        with self._lock:
            matrix.compare_by(cohort, np.empty(0, np.float32))

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
class _Scores:
    """Hold the comparison of a probe with each row: `cosines` and `ranks`, both (n,) float32.

    A score is a rank minus `common`, half of the probe's cohort mean. The rank of an expired
    template is -inf.
    """

    cosines: NDArray[np.float32]
    ranks: NDArray[np.float32]
    common: float


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """Hold the rows of one moment: vectors (n, d) float32, with their cohort means and expiries.

    `commons` is (n,) float32, half of each row's cohort mean. `expires_s` is (n,) float64,
    seconds since the epoch.
    """

    rows: NDArray[np.float32]
    commons: NDArray[np.float32]
    cohort: Cohort
    expires_s: NDArray[np.float64]
    removals: int

    def scores(self, vector: NDArray[np.float32], now: datetime) -> _Scores:
        """Compare a probe with all rows."""
        cosines: NDArray[np.float32] = self.rows @ vector
        np.clip(cosines, -1.0, 1.0, out=cosines)
        ranks = cosines - self.commons
        ranks[self.expires_s <= now.timestamp()] = -np.inf
        return _Scores(cosines, ranks, self.cohort.mean(vector) / 2)


class _Matrix:
    """Hold the rows of one collection and fingerprint; guarded by the lock of the index."""

    def __init__(self, dimension: int, cohort: Cohort) -> None:
        self.removals = 0
        self._cohort = cohort
        self._rows = np.zeros((_INITIAL_ROWS, dimension), np.float32)
        self._commons = np.zeros(_INITIAL_ROWS, np.float32)
        self._expires_s = np.full(_INITIAL_ROWS, _NEVER)
        self._names: list[tuple[str, str]] = []  # (subject, template_id) per row
        self._row_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._names)

    def view(self) -> _View:
        rows = slice(len(self._names))
        return _View(
            self._rows[rows],
            self._commons[rows],
            self._cohort,
            self._expires_s[rows],
            self.removals,
        )

    def compare_by(self, cohort: Cohort, commons: NDArray[np.float32]) -> None:
        """Score by a cohort; `commons` (k,) float32 is half the cohort mean of the first k rows."""
        self._cohort = fitting(cohort, self._rows.shape[1])
        later = self._cohort.means(self._rows[len(commons) : len(self._names)]) * _HALF
        spare = np.zeros(len(self._rows) - len(self._names), np.float32)
        self._commons = np.concatenate([commons, later, spare])

    def add(self, entry: Entry) -> None:
        row = len(self._names)
        if row == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._commons = np.concatenate([self._commons, np.zeros_like(self._commons)])
            self._expires_s = np.concatenate([self._expires_s, np.full(row, _NEVER)])
        self._rows[row] = entry.vector
        if self._cohort is not NO_COHORT:  # by which all cohort means are 0
            self._commons[row] = self._cohort.mean(entry.vector) / 2
        self._expires_s[row] = _NEVER if entry.expires_at is None else entry.expires_at.timestamp()
        self._names.append((entry.subject, entry.template_id))
        self._row_of[entry.template_id] = row

    def remove(self, template_id: str) -> None:
        """Move the last row to the place of the removed row, and overwrite what is left."""
        self.removals += 1
        row, last = self._row_of.pop(template_id), len(self._names) - 1
        moved = self._names.pop()
        if row != last:
            self._names[row] = moved
            self._row_of[moved[1]] = row
            self._rows[row] = self._rows[last]
            self._commons[row] = self._commons[last]
            self._expires_s[row] = self._expires_s[last]
        self._rows[last] = 0.0
        self._commons[last] = 0.0

    def best(self, scores: _Scores, limit: int) -> list[Candidate]:
        """Return the best row of each of the `limit` best subjects."""
        wanted = limit
        while True:
            found = self._best_of(scores, _best_rows(scores.ranks, wanted))
            if len(found) >= limit or wanted >= len(scores.ranks):
                return found[:limit]
            # The best rows belong to too few subjects: look at more rows.
            wanted *= 4

    def _best_of(self, scores: _Scores, rows: Sequence[int]) -> list[Candidate]:
        ordered = sorted((-float(scores.ranks[row]), *self._names[row], row) for row in rows)
        best: dict[str, Candidate] = {}
        for negated, subject, template_id, row in ordered:
            if subject not in best:
                score, cosine = -negated - scores.common, float(scores.cosines[row])
                best[subject] = Candidate(subject, template_id, score, cosine)
        return list(best.values())


def _best_rows(ranks: NDArray[np.float32], wanted: int) -> list[int]:
    """Return the rows with the `wanted` highest ranks, and all rows equal to the lowest of them."""
    lowest = np.float32(LOWEST_SCORE)
    if wanted < len(ranks):
        # An expired row has rank -inf and is left out even if few others remain.
        lowest = max(lowest, np.partition(ranks, len(ranks) - wanted)[len(ranks) - wanted])
    found: list[int] = np.flatnonzero(ranks >= lowest).tolist()
    return found
