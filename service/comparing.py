"""Find the similarity that a decision is taken on, by whichever bundle."""

from dataclasses import dataclass

from models.bundle import Bundle
from models.decision import Rule, rule_at
from models.errors import FingerprintMismatch
from models.face import Policy
from models.template import Template, similarity
from service.metrics import Metrics
from service.pipeline import Probe
from service.recogniser import Recogniser
from service.schemas import Choice, VerifyRequest
from service.store import GalleryTemplate, Store, SubjectTemplates


@dataclass(frozen=True, slots=True)
class Compared:
    """Hold the similarity that counts, the best of `comparisons`, and what was compared."""

    similarity: float
    probes: tuple[Probe, ...]
    comparisons: int = 1
    template_id: str | None = None


@dataclass(frozen=True, slots=True)
class Comparing:
    """Compare by one bundle; `policy` is for requests that name none."""

    recogniser: Recogniser
    store: Store
    metrics: Metrics
    policy: Policy

    async def compare(self, form: VerifyRequest, caller: object) -> Compared:
        """Compare a photo with a subject's templates, or two photos with each other.

        Raises SubjectNotFound, FingerprintMismatch, and what the pipeline raises.
        """
        policy = form.policy or self.policy
        if form.subject is not None and form.image is not None:
            return await self._with_subject(form.subject, form.image, policy, caller)
        assert form.source_image is not None
        assert form.target_image is not None
        one, two = await self.recogniser.pipeline.probe_both(
            form.source_image, form.target_image, policy, caller
        )
        return Compared(similarity(one.template, two.template), (one, two))

    async def _with_subject(
        self, subject: str, photo: bytes, policy: Policy, caller: object
    ) -> Compared:
        """Compare with every template of the subject; the best one counts.

        The subject is looked up after the encoder, so that a template deleted meanwhile is
        never used, and before it, so that one with nothing to compare with costs nothing.
        """
        self._comparable(await self.store.templates_of(subject))
        probe = await self.recogniser.pipeline.probe(photo, policy, caller)
        with self.metrics.timed("store"):
            held = await self.store.templates_of(subject)
        scores = [
            (similarity(probe.template, Template(held_one.vector, held_one.fingerprint)), held_one)
            for held_one in self._comparable(held)
        ]
        best, template = max(scores, key=lambda pair: pair[0])
        return Compared(best, (probe,), len(scores), template.template_id)

    def _comparable(self, held: SubjectTemplates) -> list[GalleryTemplate]:
        fingerprint = self.recogniser.fingerprint
        ours = [template for template in held.templates if template.fingerprint == fingerprint]
        if not ours:
            raise FingerprintMismatch(
                "The subject has no template that is valid and made by the bundle now served "
                f"({fingerprint[:12]}). Enrol the subject again, or bring the gallery over: "
                "`likeness reembed`, then `likeness switch`."
            )
        return ours


def rule_of(form: Choice, bundle: Bundle) -> Rule:
    """Return by what a bundle decides on a request; raises Uncalibrated, UnknownOperatingPoint."""
    chosen = form.operating_point, form.threshold
    return rule_at(bundle.operating_points, *chosen, bundle.probability)
