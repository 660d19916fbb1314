"""Compare photos with the gallery, or with each other, by one bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.decision import ConditionName, Template, cosine, similarities, similarity
from models.errors import (
    DegenerateVector,
    FaceError,
    FingerprintMismatch,
    ImageError,
    LikenessError,
)
from models.photo import FacePolicy
from service.errors import DifferentPeople, TemplatesDamaged, TemplatesExpired
from service.observe.metrics import Metrics
from service.pipeline.decode import Caller
from service.pipeline.pipeline import Probe
from service.recognition.recogniser import Recogniser
from service.recognition.thresholds import agreement_floor
from service.schemas.requests import VerifyRequest
from service.store import Candidate, GalleryTemplate, SubjectTemplates
from service.store.protocol import Gallery

# A search compares all templates of at least this many subjects that the store suggests.
_MIN_COMPARED: Final = 10
# A search is repeated, at most this often, if subjects are renamed while it runs.
_MAX_TRIES: Final = 3
# Errors that are a photo's own fault.
_PHOTO_ERRORS = (ImageError, FaceError, DegenerateVector)


@dataclass(frozen=True, slots=True)
class UnusedPhoto:
    """Hold the place of a photo among those sent, and why it could not be used."""

    image: int
    error: LikenessError


@dataclass(frozen=True, slots=True)
class FusedProbe:
    """Hold the fused template of several photos of one person, and what each photo gave."""

    template: Template
    probes: tuple[Probe, ...]
    unused: tuple[UnusedPhoto, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Hold the two templates that a decision compares, and what they were made of.

    `templates` counts the subject's templates; `template_id` names the one most like the probe.
    """

    probe: Template
    reference: Template
    probes: tuple[Probe, ...]
    unused: tuple[UnusedPhoto, ...] = ()
    templates: int = 1
    template_id: str | None = None

    @property
    def conditions(self) -> frozenset[ConditionName]:
        """Return the conditions that both sides have."""
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

    `template_id` names the template most like the probe; `conditions` are those of both sides.
    """

    subject: str
    template_id: str
    similarity: float
    cosine: float
    conditions: frozenset[ConditionName]


@dataclass(frozen=True, slots=True)
class Matcher:
    """Compare photos by one bundle; `policy` applies to requests that name none."""

    recogniser: Recogniser
    store: Gallery
    metrics: Metrics
    policy: FacePolicy

    async def compare(self, form: VerifyRequest, caller: Caller) -> Comparison:
        """Compare photos with a subject's templates, or two photos with each other.

        Raises SubjectNotFound, TemplatesDamaged, TemplatesExpired, FingerprintMismatch,
        DifferentPeople, and the errors of the pipeline.
        """
        policy = form.policy or self.policy
        if form.subject is not None and form.image is not None:
            return await self._compare_subject(form.subject, form.image, policy, caller)
        assert form.source_image is not None
        assert form.target_image is not None
        photos = {"source_image": form.source_image, "target_image": form.target_image}
        source, target = await self.recogniser.pipeline.probe_both(photos, policy, caller)
        return Comparison(source.template, target.template, (source, target))

    async def probe(
        self, photos: Sequence[bytes], policy: FacePolicy | None, caller: Caller
    ) -> FusedProbe:
        """Embed photos of one person, and fuse those that can be used.

        Raises the first photo's error if none can be used, and DifferentPeople. An error that
        is no photo's fault, such as OverloadError, is raised too: with the photo that it hit,
        the result might have been another.
        """
        results = await self.recogniser.pipeline.probe_each(photos, policy or self.policy, caller)
        probes = {
            place: result for place, result in enumerate(results) if isinstance(result, Probe)
        }
        unused = tuple(
            UnusedPhoto(place, result)
            for place, result in enumerate(results)
            if not isinstance(result, Probe)
        )
        faults = [photo for photo in unused if not isinstance(photo.error, _PHOTO_ERRORS)]
        if faults or not probes:
            first = (faults or unused)[0]
            raise first.error.about(f"image.{first.image}")
        self._check_one_person(probes)
        fused = self.recogniser.bundle.fuse([probe.template for probe in probes.values()])
        return FusedProbe(fused, tuple(probes.values()), unused)

    def _check_one_person(self, probes: Mapping[int, Probe]) -> None:
        """Raise DifferentPeople if a photo resembles none of the others; keys are places."""
        floor = agreement_floor(self.recogniser.bundle.operating_points)
        if floor is None:
            return
        odd = outliers([probe.template for probe in probes.values()], [], floor)
        if odd:
            raise DifferentPeople(
                "The photos do not all seem to show one person: "
                f"{len(odd)} of {len(probes)} differ from the first photo that could be used; "
                f"their similarity is below {floor:.3f}."
            ).about(*(f"image.{place}" for row, place in enumerate(probes) if row in odd))

    async def _compare_subject(
        self, subject: str, photos: Sequence[bytes], policy: FacePolicy, caller: Caller
    ) -> Comparison:
        """Compare photos with all templates of a subject, fused into one.

        The subject is looked up before the photos are embedded, so that a subject without
        comparable templates costs no computation, and again afterwards, so that a template that
        was deleted meanwhile is never used.
        """
        fingerprint = self.recogniser.fingerprint
        comparable(await self.store.templates_of(subject), fingerprint)
        probe = await self.probe(photos, policy, caller)
        with self.metrics.timed("store"):
            stored = comparable(await self.store.templates_of(subject), fingerprint)
        templates = [self.recogniser.template(template) for template in stored]
        reference = self.recogniser.bundle.fuse(templates)
        best = int(similarities([probe.template], templates).argmax())
        return Comparison(
            probe.template,
            reference,
            probe.probes,
            probe.unused,
            templates=len(stored),
            template_id=stored[best].template_id,
        )

    async def search(
        self, probe: Template, limit: int, collection: str = "", exclude: str | None = None
    ) -> list[FusedCandidate]:
        """Return the most similar subjects of a collection, best first, as `compare` scores them.

        The store suggests subjects by their single best templates. These subjects, a few more
        than `limit`, are then scored by all of their templates together, which may change their
        order. The subject `exclude` is left out.
        """
        most = max(_MIN_COMPARED, limit + _MIN_COMPARED // 2)
        fingerprint = self.recogniser.fingerprint
        with self.metrics.timed("search"):
            for _ in range(_MAX_TRIES):
                candidates = await self.store.search(
                    probe.vector, fingerprint, most, collection, exclude
                )
                subjects = await self.store.templates_of_each(
                    [candidate.subject for candidate in candidates]
                )
                by_subject = {stored.subject: stored for stored in subjects}
                # A subject that is missing was deleted or renamed since the search.
                if len(by_subject) == len(candidates):
                    break
        scored = [
            self._score(probe, by_subject[candidate.subject], candidate)
            for candidate in candidates
            if candidate.subject in by_subject
        ]
        present = [candidate for candidate in scored if candidate is not None]
        return sorted(present, key=lambda each: (-each.similarity, each.subject))[:limit]

    def _score(
        self, probe: Template, stored: SubjectTemplates, candidate: Candidate
    ) -> FusedCandidate | None:
        """Compare a probe with all templates of a subject; None if they were deleted meanwhile."""
        ours = stored.made_by(self.recogniser.fingerprint)
        if not ours:
            return None
        reference = self.recogniser.bundle.fuse([self.recogniser.template(each) for each in ours])
        return FusedCandidate(
            candidate.subject,
            candidate.template_id,
            similarity(probe, reference),
            cosine(probe, reference),
            probe.conditions & reference.conditions,
        )


def comparable(stored: SubjectTemplates, fingerprint: str) -> list[GalleryTemplate]:
    """Return the templates of a subject that one bundle made, at least one.

    Raises TemplatesDamaged, TemplatesExpired, FingerprintMismatch.
    """
    ours = stored.made_by(fingerprint)
    if not ours and any(each.fingerprint in (None, fingerprint) for each in stored.damaged):
        raise TemplatesDamaged(
            "What is stored of this subject's face cannot be read: it was damaged in the database. "
            "Enrol the subject again, from the same photos or others, or restore a backup."
        )
    if not stored.templates:
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


def outliers(photos: Sequence[Template], templates: Sequence[Template], floor: float) -> set[int]:
    """Return the places of photos that resemble none of the subject's.

    The subject's photos are `templates`, or the first photo if there are none, and every photo
    whose similarity to one of them is at least `floor`. So the order of the other photos does not
    matter, and a repeated request gets the same result.
    """
    apart = set(range(len(photos)))
    references = list(templates or photos[:1])
    while references and apart:
        places = sorted(apart)
        scores = similarities([photos[place] for place in places], references)
        near = {places[row] for row in np.flatnonzero((scores >= floor).any(axis=1))}
        apart -= near
        references = [photos[place] for place in near]
    return apart
