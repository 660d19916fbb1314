"""Fit the probability that two photos show one person to their similarity."""

import math

import numpy as np
from numpy.typing import NDArray

from models.decision import Logistic
from models.evaluation.comparisons import NOT_ENROLLED, Comparisons, Scores, halves

_COMPARISONS_NEEDED = 30
_STEPS = 100


def fit_probability(comparisons: Comparisons, seed: int = 0) -> Logistic | None:
    """Fit the probability on all comparisons.

    Its cost is measured on each half of the people with a fit on the other half. None if there
    are too few comparisons, or if a higher similarity does not mean a higher probability.
    """
    sides = halves(comparisons, seed)
    fits = [_fit(side) for side in (comparisons, *sides)]
    if any(fit is None or fit[0] <= 0 for fit in fits):
        return None
    (slope, intercept), low, high = (fit for fit in fits if fit is not None)
    # So many people cannot support higher odds than one against their number.
    limit = math.log(len(np.union1d(comparisons.first, comparisons.second)))
    costs = [_cllr(side, *fit, limit) for side, fit in zip(sides, (high, low), strict=True)]
    return Logistic(slope, intercept, limit, sum(costs) / 2)


def _fit(comparisons: Comparisons) -> tuple[float, float] | None:
    """Fit slope and intercept, with equal weight for both kinds (Platt 1999).

    Photos that were not enrolled are left out. None if there are too few comparisons.
    """
    genuine, impostor = _enrolled(comparisons)
    if min(len(genuine), len(impostor)) < _COMPARISONS_NEEDED:
        return None
    scores = np.concatenate([genuine, impostor]).astype(np.float64)
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    design = np.stack([(scores - centre) / spread, np.ones(len(scores))])
    sizes = [np.full(len(kind), 1 / len(kind)) for kind in (genuine, impostor)]
    # Targets between 0 and 1 keep the slope finite if the scores of both kinds do not overlap.
    ends = (len(genuine) + 1) / (len(genuine) + 2), 1 / (len(impostor) + 2)
    targets = np.repeat(ends, [len(genuine), len(impostor)])
    slope, intercept = _newton(design, targets, np.concatenate(sizes))
    return slope / spread, intercept - slope * centre / spread


def _newton(
    design: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Minimise the weighted cross entropy by Newton's method; `design` is `(2, n)`.

    A step that increases the loss is halved.
    """
    at: NDArray[np.float64] = np.zeros(2)
    step: NDArray[np.float64] = np.zeros(2)
    loss = math.inf
    for _ in range(_STEPS):
        odds = (at - step) @ design
        trial = float(weights @ (np.logaddexp(0, odds) - targets * odds))
        if trial > loss:
            step /= 2
            continue
        converged = loss - trial < 1e-12
        at, loss = at - step, trial
        if converged:
            break
        chances = 1 / (1 + np.exp(-odds))
        slope = design @ (weights * (chances - targets))
        curvature = (design * (weights * chances * (1 - chances))) @ design.T
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), slope).astype(np.float64)
    return float(at[0]), float(at[1])


def _cllr(comparisons: Comparisons, slope: float, intercept: float, limit: float) -> float:
    genuine, impostor = (
        np.clip(slope * scores + intercept, -limit, limit) for scores in _enrolled(comparisons)
    )
    nats = np.logaddexp(0, -genuine).mean() + np.logaddexp(0, impostor).mean()
    return float(nats / 2 / math.log(2))


def _enrolled(comparisons: Comparisons) -> tuple[Scores, Scores]:
    """Return genuine and impostor scores of enrolled photos; other photos have no similarity."""
    genuine, impostor = comparisons.genuine, comparisons.impostor
    return genuine[genuine > NOT_ENROLLED], impostor[impostor > NOT_ENROLLED]
