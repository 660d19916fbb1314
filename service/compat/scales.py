"""Convert our scores to other services' scales, from 0 to 1."""

import math
from collections.abc import Sequence

from models.decision import Logistic, OperatingPoint, rule_at
from models.photo import DetectorName
from models.photo.detectors import DlibDetector

_DECIMALS = 5
# CompreFace's default for `det_prob_threshold`: a face that is certain has at least this.
_SURE = 0.8
# Makes 0.95 of a dlib score of 0.4, which 97 % of the upright faces on web photos reach.
_STEEPNESS = 5.0


def likeness(score: float, points: Sequence[OperatingPoint], probability: Logistic | None) -> float:
    """Return how similar two faces are, 0 to 1; a higher score never gives a lower result.

    This is the calibrated probability that both are one person's, with even odds beforehand. A
    bundle without it gives two straight lines: from 0 at the score -1 to one half at the threshold
    of the default operating point (at 0 if there is none), and from there to 1 at the score 1.
    """
    if probability is not None:
        return round(probability(score), _DECIMALS)
    half = rule_at(points).threshold if points else 0.0
    # A normalised score can be below -1, but that does not happen with real faces.
    score = min(max(score, -1.0), 1.0)
    share = (score - half) / (1 - half if score > half else 1 + half)
    return round((1 + share) / 2, _DECIMALS)


def face_probability(score: float, detector: DetectorName) -> float:
    """Return how sure a detector is, 0 to 1; a face that dlib is confident of has 0.8 or more.

    YuNet's scores are from 0 to 1 already. dlib's scores are distances from a plane and go through
    a logistic curve, which is not calibrated.
    """
    if detector != DlibDetector.name:
        return round(min(max(score, 0.0), 1.0), _DECIMALS)
    odds = _STEEPNESS * (score - DlibDetector.confident) + math.log(_SURE / (1 - _SURE))
    return round(1 / (1 + math.exp(-odds)), _DECIMALS)
