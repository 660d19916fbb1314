"""Other services' numbers between 0 and 1, from ours."""

import math
from collections.abc import Sequence

from models.decision import Logistic, OperatingPoint, rule_at
from models.photo import DetectorName
from models.photo.detectors import DlibDetector

_DECIMALS = 5
# Whoever sets `det_prob_threshold` has CompreFace's default in mind: 0.8 is a face beyond doubt.
_SURE = 0.8
# Of dlib's score; what all but 3 % of upright faces on web photos reach, 0.4, becomes 0.95.
_STEEPNESS = 5.0


def likeness(score: float, points: Sequence[OperatingPoint], probability: Logistic | None) -> float:
    """Return how alike two faces are, 0 to 1; it never falls as the score rises.

    The calibrated probability that they are one person's, if both were equally likely
    beforehand. Without one: straight lines, from 0 at -1 through one half at the threshold of
    the default operating point (at 0 if there is none) to 1 at 1.
    """
    if probability is not None:
        return round(probability(score), _DECIMALS)
    half = rule_at(points).threshold if points else 0.0
    # Lower scores than -1 are of no two faces that were ever seen.
    score = min(max(score, -1.0), 1.0)
    share = (score - half) / (1 - half if score > half else 1 + half)
    return round((1 + share) / 2, _DECIMALS)


def face_probability(score: float, detector: DetectorName) -> float:
    """Return how sure a detector is, 0 to 1: 0.8 from where it takes a detection for a face.

    YuNet's scores are such numbers already; dlib's are distances from a plane, and go through a
    logistic curve, which nobody has calibrated.
    """
    if detector != DlibDetector.name:
        return round(min(max(score, 0.0), 1.0), _DECIMALS)
    odds = _STEEPNESS * (score - DlibDetector.confident) + math.log(_SURE / (1 - _SURE))
    return round(1 / (1 + math.exp(-odds)), _DECIMALS)
