"""What an operation needs besides its members, and how much alike two faces are there."""

from dataclasses import dataclass

from models.detectors import DetectorName
from service.caller import Caller
from service.compat.scales import likeness
from service.recogniser import Recogniser
from service.service import Service


@dataclass(frozen=True, slots=True)
class Asked:
    """Hold who asks what: `by` is the id of the key, `serving` the bundle that decides now."""

    service: Service
    serving: Recogniser
    caller: Caller
    by: str | None

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
