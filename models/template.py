"""A face vector that knows which bundle made it, and how much it resembles everybody."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decision import ConditionName
from models.errors import FingerprintMismatch

# The power of the coherence by which the scores of strangers spread; tests/tools/bench/NOTES.md.
_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Template:
    """Hold a unit vector `(d,)` float32, the fingerprint of its bundle, and its cohort mean.

    `mean` is by the cohort of that bundle (see `cohort`), and 0 if it has none. `coherence` is
    how far several photos agree that were fused into the vector: the length of the mean of their
    unit vectors, 0 to 1, and 1 for one photo. `conditions` are what is wrong with all of them, and
    `quality` how well its person is recognised by it, 0 to 1, if that was judged;
    one that `is_poor` is seldom recognised. `strangers` is the mean score of two strangers by the
    bundle, if that was measured.
    """

    vector: NDArray[np.float32]
    fingerprint: str
    mean: float = 0.0
    coherence: float = 1.0
    conditions: frozenset[ConditionName] = frozenset()
    quality: float | None = None
    is_poor: bool = False
    strangers: float | None = None


def similarities(probes: Sequence[Template], references: Sequence[Template]) -> NDArray[np.float32]:
    """Return the scores `(n, m)` of probes and references of one bundle, as `similarity` does."""
    columns = []
    for side in (probes, references):
        vectors = np.array([each.vector for each in side], np.float32)
        means = np.array([each.mean for each in side], np.float32)
        coherences = np.array([each.coherence for each in side], np.float32)
        columns.append((vectors, means, coherences))
    (a, mean_a, coherence_a), (b, mean_b, coherence_b) = columns
    scores = np.asarray(a @ b.T - (mean_a[:, None] + mean_b) / 2, np.float32)
    centre = probes[0].strangers if probes else None
    if centre is None:
        return scores
    spread = (coherence_a[:, None] * coherence_b) ** _SPREAD
    return np.asarray(centre + spread * (scores - centre), np.float32)


def cosine(probe: Template, reference: Template) -> float:
    """Return the cosine of two templates, -1 to 1.

    Raises FingerprintMismatch: vectors of different bundles live in different spaces.
    """
    if probe.fingerprint != reference.fingerprint:
        raise FingerprintMismatch(
            f"A template of bundle {reference.fingerprint[:12]} cannot be compared with one "
            f"of bundle {probe.fingerprint[:12]}; enrol the subject again."
        )
    return float(np.clip(np.dot(probe.vector, reference.vector), -1.0, 1.0))


def similarity(probe: Template, reference: Template) -> float:
    """Return the score that decisions are taken on: the cosine less what both share with everybody.

    -2 to 1; for single photos and a bundle without a cohort, the cosine itself. Fused templates
    hold less noise, so that scores of strangers spread further about their mean: by the coherence
    they are brought back to the spread that thresholds were set on. Raises FingerprintMismatch.
    """
    score = cosine(probe, reference) - (probe.mean + reference.mean) / 2
    if probe.strangers is None:
        return score
    spread = math.pow(probe.coherence * reference.coherence, _SPREAD)
    return probe.strangers + spread * (score - probe.strangers)
