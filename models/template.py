"""A face vector that knows which bundle made it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import FingerprintMismatch


@dataclass(frozen=True, slots=True)
class Template:
    """Hold a unit vector `(d,)` float32 and the fingerprint of the bundle that made it."""

    vector: NDArray[np.float32]
    fingerprint: str


def similarity(probe: Template, reference: Template) -> float:
    """Return the cosine of two templates, -1 to 1.

    Raises FingerprintMismatch: vectors of different bundles live in different spaces.
    """
    if probe.fingerprint != reference.fingerprint:
        raise FingerprintMismatch(
            f"A template of bundle {reference.fingerprint[:12]} cannot be compared with one "
            f"of bundle {probe.fingerprint[:12]}; enrol the subject again."
        )
    return float(np.clip(np.dot(probe.vector, reference.vector), -1.0, 1.0))
