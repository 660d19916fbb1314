"""The operations on the faces of photos: detect, recognize, compare, verify, add."""

from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from models.decision import Template, similarity
from models.errors import NoFace, naming
from models.photo import FacePolicy
from service.compat.compreface.collection import FaceCollection
from service.compat.compreface.schemas import (
    Box,
    ComparedFace,
    Comparison,
    Detection,
    Example,
    ExecutionTime,
    Face,
    Matches,
    Options,
    PluginVersions,
    Prediction,
    Recognition,
    RecognizedFace,
    TwoPhotos,
    Verification,
    VerifiedFace,
)
from service.compat.scales import face_probability, likeness
from service.pipeline.decode import Caller
from service.pipeline.pipeline import Probe
from service.recognition.enroll import enroll_photos
from service.recognition.identify import search_gallery
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.schemas.requests import EnrollRequest

F = TypeVar("F", bound=Face)

_MAX_PREDICTIONS = 100


@dataclass(frozen=True, slots=True)
class FaceContext:
    """Hold the options of a request, and the bundle that decides now."""

    service: Service
    active: Recogniser
    options: Options

    def probability(self, probe: Probe) -> float:
        """Return how sure the detector is that this is a face, 0 to 1."""
        return face_probability(probe.report.score, self.active.bundle.detector.name)

    def likeness(self, score: float) -> float:
        """Return a similarity score on CompreFace's scale, 0 to 1."""
        bundle = self.active.bundle
        return likeness(score, bundle.operating_points, bundle.probability)

    def compare(self, one: Template, other: Template) -> float:
        """Return how similar two templates are, 0 to 1."""
        return self.likeness(similarity(one, other))

    @property
    def versions(self) -> PluginVersions | None:
        """Return the detector and the bundle, None unless the request asks for its status."""
        if not self.options.status:
            return None
        calculator = f"{self.active.bundle.manifest.name} {self.active.fingerprint[:12]}"
        return PluginVersions(detector=self.active.bundle.detector.name, calculator=calculator)

    def face(self, model: type[F], probe: Probe, **more: object) -> F:
        """Describe a face; `more` are the fields of `model` beyond those of Face."""
        options = self.options
        return model.model_validate(
            {
                "box": self._box(probe),
                "embedding": probe.row.vector.tolist() if options.wants_vectors else None,
                "execution_time": _execution_time(probe) if options.status else None,
                **more,
            }
        )

    def _box(self, probe: Probe) -> Box:
        box, report = probe.report.box, probe.report
        return Box(
            probability=self.probability(probe),
            x_max=min(round(box.left + box.width), report.image_width),
            y_max=min(round(box.top + box.height), report.image_height),
            x_min=max(round(box.left), 0),
            y_min=max(round(box.top), 0),
        )


def _execution_time(probe: Probe) -> ExecutionTime:
    times = probe.times
    return ExecutionTime(
        detector=round(1000 * (times.decode_s + times.detect_s + times.align_s), 2),
        calculator=round(1000 * (times.queue_s + times.forward_s), 2),
    )


async def detect(context: FaceContext, photo: bytes, caller: Caller) -> Detection:
    """Return where the faces are."""
    probes = await _probes(context, photo, caller)
    return Detection(
        result=[context.face(Face, probe) for probe in probes], plugins_versions=context.versions
    )


async def recognize(context: FaceContext, photo: bytes, caller: Caller) -> Recognition:
    """Return the most similar subjects of each face, however similar they are."""
    probes = await _probes(context, photo, caller)
    result = [
        context.face(RecognizedFace, probe, subjects=await predict(context, probe.template))
        for probe in probes
    ]
    return Recognition(result=result, plugins_versions=context.versions)


async def predict(context: FaceContext, template: Template) -> list[Prediction]:
    """Return the most similar subjects, the best first; the request says how many."""
    limit = min(context.options.prediction_count, _MAX_PREDICTIONS)
    candidates = await search_gallery(context.service, context.active, template, limit)
    return [
        Prediction(subject=each.subject, similarity=context.likeness(each.similarity))
        for each in candidates
    ]


async def compare(context: FaceContext, photos: TwoPhotos, caller: Caller) -> Comparison:
    """Compare the face of one photo with every face of another."""
    # A limit of one face chooses the largest.
    policy: FacePolicy = "largest" if context.options.limit == 1 else "single"
    with naming("source_image"):
        source = await context.active.pipeline.probe(photos.source_image, policy, caller)
        _sure(context, [source])
    with naming("target_image"):
        targets = await _probes(context, photos.target_image, caller)
    matches = [
        context.face(
            ComparedFace, target, similarity=context.compare(source.template, target.template)
        )
        for target in targets
    ]
    return Comparison(
        result=[
            Matches(
                source_image_face=context.face(Face, source),
                face_matches=matches,
                plugins_versions=context.versions,
            )
        ]
    )


async def verify(context: FaceContext, image_id: str, photo: bytes, caller: Caller) -> Verification:
    """Compare an example with every face of a photo. Raises TemplateNotFound.

    The example is looked up before the encoder, so that an unknown id costs nothing, and again
    after it, so that an example that was deleted meanwhile is not used.
    """
    collection = FaceCollection.of(context.service.store, context.active)
    await collection.example(image_id)
    probes = await _probes(context, photo, caller)
    # Its subject may have been renamed meanwhile.
    example = await collection.example(image_id)
    template = await collection.template(example)
    result = [
        context.face(
            VerifiedFace,
            probe,
            subject=example.subject,
            similarity=context.compare(template, probe.template),
        )
        for probe in probes
    ]
    return Verification(result=result, plugins_versions=context.versions)


async def add(
    context: FaceContext, subject: str, photo: bytes, by: str | None, caller: Caller
) -> Example:
    """Enrol the one face of a photo, under an id of the form that CompreFace's clients expect.

    A photo that is enrolled already keeps its id.
    """
    if context.options.det_prob_threshold:
        # Checked before anything is stored, so the photo is processed twice.
        _sure(context, [await context.active.pipeline.probe(photo, "single", caller)])
    form = EnrollRequest(subject=subject, image=[photo], template_id=str(uuid4()), policy="single")
    answer, _ = await enroll_photos(context.service, form, None, by, False, caller)
    image_id = answer.images[0].template_id
    assert image_id is not None
    return Example(image_id=image_id, subject=subject)


async def _probes(context: FaceContext, photo: bytes, caller: Caller) -> list[Probe]:
    """Return the faces that the options select, the largest first. Raises NoFace."""
    options, most = context.options, context.service.settings.max_images
    limit = min(options.limit or most, most)
    # With a threshold, the limit counts only the sure faces, and these are known afterwards.
    needed = limit if options.det_prob_threshold == 0 else most
    probes = await context.active.pipeline.probe_all(photo, needed, caller)
    return _sure(context, probes)[:limit]


def _sure(context: FaceContext, probes: list[Probe]) -> list[Probe]:
    """Return the faces whose probability reaches the threshold. Raises NoFace."""
    threshold = context.options.det_prob_threshold
    sure = [probe for probe in probes if context.probability(probe) >= threshold]
    if not sure:
        raise NoFace(
            f"No face with a probability of at least {threshold:g} was found in the image."
        )
    return sure
