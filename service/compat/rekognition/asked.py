"""What an operation needs besides its members, and how much alike two faces are there."""

from dataclasses import dataclass
from typing import Final

from models.photo import DetectorName
from service.compat.scales import likeness
from service.pipeline.decode import Caller
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.recognition.thresholds import agreement_floor, check_floor

# Of Rekognition's own, in per cent, where a request says none.
_DEFAULT: Final = 80.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Hold who asks what: `by` is the id of the key, `serving` the bundle that decides now.

    Thresholds are at least that of the laxest operating point, unless the caller `may_lower` them.
    """

    service: Service
    serving: Recogniser
    caller: Caller
    by: str | None
    may_lower: bool

    @property
    def detector(self) -> DetectorName:
        return self.serving.bundle.detector.name

    @property
    def face_model_version(self) -> str:
        """Return what tells bundles apart."""
        return self.serving.fingerprint[:12]

    def similarity(self, score: float) -> float:
        """Return the calibrated probability that two faces are one person's, 0 to 100."""
        bundle = self.serving.bundle
        return 100 * likeness(score, bundle.operating_points, bundle.probability)

    def threshold(self, member: str, given: float | None) -> float:
        """Return from which similarity on a face counts; `given` is None if it was left out.

        Raises ThresholdTooLow.
        """
        score = agreement_floor(self.serving.bundle.operating_points)
        floor = 0.0 if score is None else self.similarity(score)
        if given is None:
            return max(_DEFAULT, floor)
        if not self.may_lower:
            check_floor(member, given, floor, decimals=2)
        return given
