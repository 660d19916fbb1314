"""Confidence intervals of error rates from a bootstrap over people.

Comparisons that share a person are not independent, so people are drawn with replacement and
a comparison counts as often as both of its people were drawn (Bolle et al. 2004).
"""

import numpy as np
from numpy.typing import NDArray

from models.decision import Rate
from models.evaluation.comparisons import Comparisons

_BLOCK = 256


class Bootstrap:
    """Draw people once, and measure rates with 95 % intervals at any threshold."""

    def __init__(self, comparisons: Comparisons, seed: int = 0, rounds: int = 1000) -> None:
        people = np.union1d(comparisons.first, comparisons.second)
        self._first = np.searchsorted(people, comparisons.first)
        self._second = np.searchsorted(people, comparisons.second)
        chances = np.full(len(people), 1 / len(people))
        draws = np.random.default_rng(seed).multinomial(len(people), chances, rounds)
        self._draws = draws.astype(np.float32)
        self._scores = comparisons.scores
        self._same = comparisons.same
        self._genuine = self._weight(self._same)
        self._impostor = self._weight(~self._same)

    def fmr(self, threshold: float) -> Rate:
        """Measure the share of impostor comparisons at or above the threshold."""
        wrong = ~self._same & (self._scores >= threshold)
        return self._rate(~self._same, wrong, self._impostor)

    def fnmr(self, threshold: float) -> Rate:
        """Measure the share of genuine comparisons below the threshold."""
        wrong = self._same & (self._scores < threshold)
        return self._rate(self._same, wrong, self._genuine)

    def _rate(
        self, kept: NDArray[np.bool_], wrong: NDArray[np.bool_], totals: NDArray[np.float64]
    ) -> Rate:
        if not wrong.any():
            # A bootstrap of no errors has none either; the rule of three bounds what was not seen.
            people = np.union1d(self._first[kept], self._second[kept])
            return Rate(0.0, 0.0, min(1.0, 3 / max(len(people), 1)))
        errors = self._weight(wrong)
        low, high = np.quantile(errors / np.maximum(totals, 1), [0.025, 0.975])
        return Rate(float(wrong.sum() / kept.sum()), float(low), float(high))

    def _weight(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Count the chosen comparisons in every draw `(rounds,)`.

        Pairs are summed over people first, so that a million of them cost a few products.
        """
        people = self._draws.shape[1]
        keys, counts = np.unique(
            self._first[chosen] * people + self._second[chosen], return_counts=True
        )
        a, b = keys // people, keys % people
        itself = a == b
        total = np.asarray(self._draws[:, a[itself]] @ counts[itself], np.float64)
        a, b, counts = a[~itself], b[~itself], counts[~itself]
        for start in np.unique(a // _BLOCK) * _BLOCK:
            low, high = np.searchsorted(a, [start, start + _BLOCK])
            table = np.zeros((_BLOCK, people), np.float32)
            table[a[low:high] - start, b[low:high]] = counts[low:high]
            part = self._draws[:, start : start + _BLOCK]
            total += np.einsum("ij,ij->i", part @ table[: part.shape[1]], self._draws)
        return total
