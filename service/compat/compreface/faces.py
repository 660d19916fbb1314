"""What is asked about the faces of a photo: who they are, whom they resemble, where they are."""

from uuid import uuid4

from models.decision import Template
from models.errors import NoFace, naming
from models.photo import Policy
from service.compat.compreface.answers import (
    ComparedFace,
    Comparison,
    Detection,
    Example,
    Face,
    Matches,
    Prediction,
    Recognition,
    RecognizedFace,
    Verification,
    VerifiedFace,
    Words,
)
from service.compat.compreface.collection import FaceCollection
from service.compat.compreface.requests import TwoPhotos
from service.pipeline.decode import Caller
from service.pipeline.pipeline import Probe
from service.recognition.enroll import enroll_photos
from service.recognition.identify import search_gallery
from service.schemas.requests import EnrollRequest

_MOST_PREDICTIONS = 100


async def detect(words: Words, photo: bytes, caller: Caller) -> Detection:
    """Tell where the faces are."""
    faces = await _faces(words, photo, caller)
    return Detection(
        result=[Face.of(face, words) for face in faces], plugins_versions=words.versions
    )


async def recognize(words: Words, photo: bytes, caller: Caller) -> Recognition:
    """Name the subjects that each face resembles most, however little that is."""
    faces = await _faces(words, photo, caller)
    result = [
        RecognizedFace.of(face, words, subjects=await predict(words, face.template))
        for face in faces
    ]
    return Recognition(result=result, plugins_versions=words.versions)


async def predict(words: Words, template: Template) -> list[Prediction]:
    """Return the subjects that are most similar, the best first, as many as are asked for."""
    most = min(words.options.prediction_count, _MOST_PREDICTIONS)
    found = await search_gallery(words.service, words.serving, template, most)
    return [
        Prediction(subject=each.subject, similarity=words.likeness(each.similarity))
        for each in found
    ]


async def compare(words: Words, photos: TwoPhotos, caller: Caller) -> Comparison:
    """Compare the face of one photo with every face of another."""
    # Whoever wants one face at most has chosen the largest.
    policy: Policy = "largest" if words.options.limit == 1 else "single"
    with naming("source_image"):
        source = await words.serving.pipeline.probe(photos.source_image, policy, caller)
        _only_sure(words, [source])
    with naming("target_image"):
        faces = await _faces(words, photos.target_image, caller)
    matches = [
        ComparedFace.of(face, words, similarity=words.alike(source.template, face.template))
        for face in faces
    ]
    return Comparison(
        result=[
            Matches(
                source_image_face=Face.of(source, words),
                face_matches=matches,
                plugins_versions=words.versions,
            )
        ]
    )


async def verify(words: Words, image_id: str, photo: bytes, caller: Caller) -> Verification:
    """Compare an example with every face of a photo. Raises TemplateNotFound.

    It is looked up before the encoder, so that an unknown one costs nothing, and after it, so
    that one deleted meanwhile is never used.
    """
    collection = FaceCollection.of(words.service.store, words.serving)
    await collection.one(image_id)
    faces = await _faces(words, photo, caller)
    # Its subject may have another name by now.
    example = await collection.one(image_id)
    template = await collection.template(example)
    result = [
        VerifiedFace.of(
            face,
            words,
            subject=example.subject,
            similarity=words.alike(template, face.template),
        )
        for face in faces
    ]
    return Verification(result=result, plugins_versions=words.versions)


async def add(words: Words, subject: str, photo: bytes, by: str | None, caller: Caller) -> Example:
    """Enrol the one face of a photo as any other, under an id such as CompreFace's clients expect.

    The same photo again keeps the id that it has.
    """
    if words.options.det_prob_threshold:
        # Before anything is stored; the enrolment looks at the photo once more.
        _only_sure(words, [await words.serving.pipeline.probe(photo, "single", caller)])
    form = EnrollRequest(subject=subject, image=[photo], template_id=str(uuid4()), policy="single")
    answer, _ = await enroll_photos(words.service, form, None, by, False, caller)
    image_id = answer.images[0].template_id
    assert image_id is not None
    return Example(image_id=image_id, subject=subject)


async def _faces(words: Words, photo: bytes, caller: Caller) -> list[Probe]:
    """Return the faces that count, the largest first; raises NoFace."""
    options, most = words.options, words.service.settings.max_images
    limit = min(options.limit or most, most)
    # The largest faces are those of the sure ones: which these are is known afterwards.
    seen = limit if options.det_prob_threshold == 0 else most
    probes = await words.serving.pipeline.probe_all(photo, seen, caller)
    return _only_sure(words, probes)[:limit]


def _only_sure(words: Words, probes: list[Probe]) -> list[Probe]:
    least = words.options.det_prob_threshold
    sure = [probe for probe in probes if words.probability(probe) >= least]
    if not sure:
        raise NoFace(f"No face of a probability of {least:g} or more was found in the image.")
    return sure
