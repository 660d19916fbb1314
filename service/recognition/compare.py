"""Find the similarity that a decision is taken on, by whichever bundle."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models.bundle import Bundle
from models.decision import ConditionName, Rule, Template, cosine, rule_at, similarities, similarity
from models.errors import (
    DegenerateVector,
    FaceError,
    FingerprintMismatch,
    ImageError,
    LikenessError,
)
from models.photo import Policy
from service.errors import DifferentPeople, TemplatesDamaged, TemplatesExpired, ThresholdTooLow
from service.observe.metrics import Metrics
from service.pipeline.caller import Caller
from service.pipeline.pipeline import Probe
from service.recognition.hygiene import agreement_floor, strangers
from service.recognition.recogniser import Recogniser
from service.schemas.requests import Choice, VerifyRequest
from service.store import Candidate, GalleryTemplate, Store, SubjectTemplates

# Of so many subjects that the store suggests at least, all templates are compared.
_LOOKED_AT: Final = 10
# A search whose subjects change their names meanwhile is done again, so often at most.
_TRIES: Final = 3
# What a photo itself is to blame for.
_OF_A_PHOTO = (ImageError, FaceError, DegenerateVector)


@dataclass(frozen=True, slots=True)
class UnusedPhoto:
    """Hold the place of a photo among those sent, and why nothing could be made of it."""

    image: int
    error: LikenessError


@dataclass(frozen=True, slots=True)
class FusedProbe:
    """Hold what photos of one person became together, and each of them."""

    template: Template
    probes: tuple[Probe, ...]
    unused: tuple[UnusedPhoto, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """Hold the two templates that a decision is taken on, and what they were made of.

    `templates` counts those of the subject; `template_id` is the one most like the probe.
    """

    probe: Template
    reference: Template
    probes: tuple[Probe, ...]
    unused: tuple[UnusedPhoto, ...] = ()
    templates: int = 1
    template_id: str | None = None

    @property
    def conditions(self) -> frozenset[ConditionName]:
        """Return what is wrong with both sides."""
        return self.probe.conditions & self.reference.conditions

    @property
    def similarity(self) -> float:
        return similarity(self.probe, self.reference)

    @property
    def cosine(self) -> float:
        return cosine(self.probe, self.reference)


@dataclass(frozen=True, slots=True)
class FusedCandidate:
    """Hold a subject that a search found, scored by all of its templates together.

    `template_id` is that of the one most like the probe, `conditions` what is wrong on both sides.
    """

    subject: str
    template_id: str
    similarity: float
    cosine: float
    conditions: frozenset[ConditionName]


@dataclass(frozen=True, slots=True)
class Comparing:
    """Compare by one bundle; `policy` is for requests that name none."""

    recogniser: Recogniser
    store: Store
    metrics: Metrics
    policy: Policy

    async def compare(self, form: VerifyRequest, caller: Caller) -> Compared:
        """Compare photos with a subject's templates, or two photos with each other.

        Raises SubjectNotFound, TemplatesDamaged, TemplatesExpired, FingerprintMismatch,
        DifferentPeople, and what the pipeline raises.
        """
        policy = form.policy or self.policy
        if form.subject is not None and form.image is not None:
            return await self._with_subject(form.subject, form.image, policy, caller)
        assert form.source_image is not None
        assert form.target_image is not None
        photos = {"source_image": form.source_image, "target_image": form.target_image}
        one, two = await self.recogniser.pipeline.probe_both(photos, policy, caller)
        return Compared(one.template, two.template, (one, two))

    async def probe(
        self, photos: Sequence[bytes], policy: Policy | None, caller: Caller
    ) -> FusedProbe:
        """Take photos of one person, and fuse those that can be used.

        Raises the first photo's problem if none can be used, DifferentPeople, and what is no
        photo's fault, such as OverloadError: the photo might have told otherwise.
        """
        made = await self.recogniser.pipeline.probe_each(photos, policy or self.policy, caller)
        probes = tuple(each for each in made if isinstance(each, Probe))
        unused = tuple(
            UnusedPhoto(at, each) for at, each in enumerate(made) if not isinstance(each, Probe)
        )
        faults = [each for each in unused if not isinstance(each.error, _OF_A_PHOTO)]
        if faults or not probes:
            first = (faults or unused)[0]
            raise first.error.about(f"image.{first.image}")
        self._check_one_person(
            {at: each for at, each in enumerate(made) if isinstance(each, Probe)}
        )
        fused = self.recogniser.bundle.fuse([probe.template for probe in probes])
        return FusedProbe(fused, probes, unused)

    def _check_one_person(self, probes: Mapping[int, Probe]) -> None:
        """Raise DifferentPeople if a photo, by its place, resembles none of the others."""
        floor = agreement_floor(self.recogniser.bundle.operating_points)
        if floor is None:
            return
        odd = strangers([probe.template for probe in probes.values()], [], floor)
        if odd:
            raise DifferentPeople(
                "The photos do not all seem to show one person: from the first that could be used, "
                f"{len(odd)} of {len(probes)} differ; their similarity is below {floor:.3f}."
            ).about(*(f"image.{place}" for at, place in enumerate(probes) if at in odd))

    async def _with_subject(
        self, subject: str, photos: Sequence[bytes], policy: Policy, caller: Caller
    ) -> Compared:
        """Compare with all templates of the subject, fused into one.

        The subject is looked up after the encoder, so that a template deleted meanwhile is
        never used, and before it, so that one with nothing to compare with costs nothing.
        """
        fingerprint = self.recogniser.fingerprint
        comparable(await self.store.templates_of(subject), fingerprint)
        probe = await self.probe(photos, policy, caller)
        with self.metrics.timed("store"):
            held = comparable(await self.store.templates_of(subject), fingerprint)
        templates = [self.recogniser.template(each) for each in held]
        reference = self.recogniser.bundle.fuse(templates)
        best = int(similarities([probe.template], templates).argmax())
        best_id = held[best].template_id
        return Compared(probe.template, reference, probe.probes, probe.unused, len(held), best_id)

    async def search(
        self, probe: Template, limit: int, collection: str = "", besides: str | None = None
    ) -> list[FusedCandidate]:
        """Return the most similar subjects of a collection, best first, as `compare` scores them.

        The store finds subjects by their best single templates; those found, and a few more, are
        then compared by all of theirs together, which the order may change. `besides` is left out.
        """
        most = max(_LOOKED_AT, limit + _LOOKED_AT // 2)
        fingerprint = self.recogniser.fingerprint
        with self.metrics.timed("search"):
            for _ in range(_TRIES):
                found = await self.store.search(
                    probe.vector, fingerprint, most, collection, besides
                )
                held = await self.store.templates_of_each([each.subject for each in found])
                by_subject = {each.subject: each for each in held}
                # One who is missing was deleted meanwhile, or has another name by now.
                if len(by_subject) == len(found):
                    break
        fused = [
            self._fused(probe, by_subject[each.subject], each)
            for each in found
            if each.subject in by_subject
        ]
        present = [candidate for candidate in fused if candidate is not None]
        return sorted(present, key=lambda each: (-each.similarity, each.subject))[:limit]

    def _fused(
        self, probe: Template, held: SubjectTemplates, found: Candidate
    ) -> FusedCandidate | None:
        """Compare a probe with all of a subject's templates; None if they are gone meanwhile."""
        own = held.made_by(self.recogniser.fingerprint)
        if not own:
            return None
        reference = self.recogniser.bundle.fuse([self.recogniser.template(each) for each in own])
        return FusedCandidate(
            found.subject,
            found.template_id,
            similarity(probe, reference),
            cosine(probe, reference),
            probe.conditions & reference.conditions,
        )


def comparable(held: SubjectTemplates, fingerprint: str) -> list[GalleryTemplate]:
    """Return the templates of a subject that one bundle made; there is one at least.

    Raises TemplatesDamaged, TemplatesExpired, FingerprintMismatch.
    """
    ours = held.made_by(fingerprint)
    if not ours and any(each.fingerprint in (None, fingerprint) for each in held.damaged):
        raise TemplatesDamaged(
            "What is stored of this subject's face cannot be read: it was damaged in the database. "
            "Enrol the subject again, from the same photos or others, or restore a backup."
        )
    if not held.templates:
        raise TemplatesExpired(
            "Every template of this subject has expired: it counts as deleted, and is erased "
            "soon. Enrol the subject again."
        )
    if not ours:
        raise FingerprintMismatch(
            "The subject has no template that was made by the bundle now served "
            f"({fingerprint[:12]}). Enrol the subject again, or bring the gallery over: "
            "`likeness reembed`, then `likeness switch`."
        )
    return ours


def rule_of(form: Choice, bundle: Bundle, usual: str | None, *, may_lower: bool = False) -> Rule:
    """Return by what a bundle decides on a request; `usual` is the point if it names none.

    Raises Uncalibrated, UnknownOperatingPoint, and ThresholdTooLow unless the caller `may_lower`
    thresholds.
    """
    floor = agreement_floor(bundle.operating_points)
    if form.threshold is not None and floor is not None and not may_lower:
        check_floor("threshold", form.threshold, floor, decimals=4)
    return rule_at(
        bundle.operating_points,
        form.operating_point or usual,
        form.threshold,
        bundle.probability,
        bundle.conditions,
    )


def check_floor(field: str, threshold: float, floor: float, decimals: int) -> None:
    """Raise ThresholdTooLow for a threshold below the floor; it says one that is not."""
    if threshold < floor:
        least = math.ceil(floor * 10**decimals) / 10**decimals
        raise ThresholdTooLow(
            f"{field}: Below {least:.{decimals}f}, the threshold of the laxest operating point, "
            "nobody knows how many strangers match. Send that or more; less takes a key with the "
            "scope `admin`."
        )
