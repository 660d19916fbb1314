"""The operations on faces, and how the store keeps a face.

A face is a template in a subject of its own. The metadata of the subject describe the face. The
subject has the id of the face as its name, until it is renamed as any subject can be.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from uuid import UUID

from models.decision import similarity
from models.errors import FaceTooSmall, NoFace, naming
from models.photo import DetectorName
from service.compat.rekognition.schemas import (
    CompareFacesMatch,
    CompareFacesRequest,
    CompareFacesResponse,
    DetectFacesRequest,
    DetectFacesResponse,
    Face,
    FaceDetail,
    FaceLocation,
    FaceMatch,
    FaceRecord,
    IndexFacesRequest,
    IndexFacesResponse,
    Reason,
    SearchFacesByImageRequest,
    SearchFacesByImageResponse,
    SearchFacesRequest,
    SearchFacesResponse,
    UnindexedFace,
    box_of,
    confidence_of,
)
from service.compat.scales import likeness
from service.errors import FieldError, SubjectNotFound, TemplateNotFound, invalid_fields
from service.pipeline.decode import Caller
from service.pipeline.pipeline import Probe
from service.recognition.enroll import NewFace, ProbedFace, enroll_faces, probe_faces
from service.recognition.identify import search_gallery
from service.recognition.matcher import FusedCandidate, comparable
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.recognition.thresholds import agreement_floor, check_floor
from service.recognition.vetting import VettingStandard, harmful_issues
from service.store.protocol import Gallery

# Rekognition's default, in per cent.
_DEFAULT_THRESHOLD: Final = 80.0
_METADATA_NAME: Final = "rekognition"
# How often a face is looked up again if its subject is renamed meanwhile.
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class OperationContext:
    """Hold what an operation needs besides the members of its request.

    `active` is the bundle that decides now, and `by` the id of the key. Only a caller that
    `may_lower` the threshold can set it below that of the laxest operating point.
    """

    service: Service
    active: Recogniser
    caller: Caller
    by: str | None
    may_lower: bool

    @property
    def detector(self) -> DetectorName:
        """Return the name of the detector that found the faces."""
        return self.active.bundle.detector.name

    @property
    def face_model_version(self) -> str:
        """Return the start of the bundle's fingerprint."""
        return self.active.fingerprint[:12]

    def similarity(self, score: float) -> float:
        """Return the calibrated probability that two faces are one person's, 0 to 100."""
        bundle = self.active.bundle
        return 100 * likeness(score, bundle.operating_points, bundle.probability)

    def threshold(self, member: str, given: float | None) -> float:
        """Return the least similarity of a match; `given` is None if the request has none.

        Raises ThresholdTooLow.
        """
        score = agreement_floor(self.active.bundle.operating_points)
        floor = 0.0 if score is None else self.similarity(score)
        if given is None:
            return max(_DEFAULT_THRESHOLD, floor)
        if not self.may_lower:
            check_floor(member, given, floor, decimals=2)
        return given


@dataclass(frozen=True, slots=True)
class StoredFace:
    """Hold a face of a collection, and the current name of its subject."""

    subject: str
    face: Face


def to_metadata(face: Face) -> dict[str, str]:
    """Return a face as metadata of its subject."""
    return {_METADATA_NAME: face.to_json()}


def from_metadata(metadata: Mapping[str, str]) -> Face:
    """Return the face that the metadata of its subject describe."""
    return Face.model_validate_json(metadata[_METADATA_NAME])


async def find_face(store: Gallery, collection: str, face_id: str) -> StoredFace | None:
    """Return the face with an id, None if the collection has no such face."""
    for _ in range(_ATTEMPTS):
        try:
            name = await store.subject_of(face_id)
            subject = await store.subject(name)
        except TemplateNotFound:
            return None
        except SubjectNotFound:
            continue
        is_here = subject.collection == collection
        return StoredFace(name, from_metadata(subject.metadata)) if is_here else None
    return None


async def erase_face(store: Gallery, collection: str, face_id: str, by: str | None) -> bool:
    """Erase the face with an id; return False if the collection has no such face."""
    for _ in range(_ATTEMPTS):
        stored = await find_face(store, collection, face_id)
        if stored is None:
            return False
        try:
            await store.delete_subject(stored.subject, by)
        except SubjectNotFound:
            continue
        return True
    return False


_REASONS: Final[Mapping[str, Reason]] = MappingProxyType(
    {
        "blurred": "LOW_SHARPNESS",
        "dark": "LOW_BRIGHTNESS",
        "overexposed": "LOW_BRIGHTNESS",
        "turned_away": "EXTREME_POSE",
    }
)


async def compare(context: OperationContext, request: CompareFacesRequest) -> CompareFacesResponse:
    """Compare the largest face of one photo with every face of another."""
    threshold = context.threshold("SimilarityThreshold", request.similarity_threshold)
    pipeline = context.active.pipeline
    with naming("SourceImage"):
        source = await pipeline.probe(request.source_image.photo, "largest", context.caller)
    with naming("TargetImage"):
        targets = await _probes(context, request.target_image.photo)
    matches, others = [], []
    for target in targets:
        detail = FaceDetail.of(target.report, context.detector)
        similar = context.similarity(similarity(source.template, target.template))
        if similar >= threshold:
            matches.append(CompareFacesMatch(similarity=similar, face=detail))
        else:
            others.append(detail)
    return CompareFacesResponse(
        source_image_face=FaceLocation(
            bounding_box=box_of(source.report),
            confidence=confidence_of(source.report, context.detector),
        ),
        face_matches=sorted(matches, key=lambda match: -match.similarity),
        unmatched_faces=others,
    )


async def detect(context: OperationContext, request: DetectFacesRequest) -> DetectFacesResponse:
    """Return the place and the quality of each face."""
    probes = await _probes(context, request.image.photo)
    return DetectFacesResponse(
        face_details=[FaceDetail.of(probe.report, context.detector) for probe in probes]
    )


async def index(context: OperationContext, request: IndexFacesRequest) -> IndexFacesResponse:
    """Add the faces of a photo to a collection. The same photo gives the same ids again."""
    service, photo = context.service, request.image.photo
    # First, so that a request for an unknown collection does not use the encoder.
    await service.store.collection(request.collection_id)
    gate = "off" if request.quality_filter == "NONE" else service.settings.enroll_quality
    standard = VettingStandard(gate, None)
    refused: list[ProbedFace] = []
    good: list[ProbedFace] = []
    for face in await probe_faces(service, context.active, photo, standard, context.caller):
        (refused if gate == "refuse" and face.low_quality is not None else good).append(face)
    limit = request.max_faces or len(good)
    accepted, surplus = good[:limit], good[limit:]
    digest = hashlib.sha256(photo).digest()
    records = [_record(context, request, face, digest) for face in accepted]
    new_faces = [
        await _new_face(context, request, record.face, face)
        for record, face in zip(records, accepted, strict=True)
    ]
    await enroll_faces(service, request.collection_id, photo, new_faces, context.by)
    return IndexFacesResponse(
        face_records=records,
        unindexed_faces=[
            *(_unindexed(context, face, _reasons(face)) for face in refused),
            *(_unindexed(context, face, ["EXCEEDS_MAX_FACES"]) for face in surplus),
        ],
        face_model_version=context.face_model_version,
    )


async def search_by_image(
    context: OperationContext, request: SearchFacesByImageRequest
) -> SearchFacesByImageResponse:
    """Search a collection for the largest face of a photo."""
    await context.service.store.collection(request.collection_id)
    threshold = context.threshold("FaceMatchThreshold", request.face_match_threshold)
    probe = await context.active.pipeline.probe(request.image.photo, "largest", context.caller)
    candidates = await search_gallery(
        context.service, context.active, probe.template, request.max_faces, request.collection_id
    )
    return SearchFacesByImageResponse(
        searched_face_bounding_box=box_of(probe.report),
        searched_face_confidence=confidence_of(probe.report, context.detector),
        face_matches=await _matches(context, request.collection_id, candidates, threshold),
        face_model_version=context.face_model_version,
    )


async def search(context: OperationContext, request: SearchFacesRequest) -> SearchFacesResponse:
    """Search a collection for faces that resemble one of its own."""
    store, collection = context.service.store, request.collection_id
    await store.collection(collection)
    threshold = context.threshold("FaceMatchThreshold", request.face_match_threshold)
    stored = await find_face(store, collection, request.face_id)
    if stored is None:
        raise invalid_fields([FieldError("FaceId", "The collection has no such face")])
    templates = await store.templates_of(stored.subject)
    template = context.active.template(comparable(templates, context.active.fingerprint)[0])
    candidates = await search_gallery(
        context.service, context.active, template, request.max_faces, collection, stored.subject
    )
    return SearchFacesResponse(
        searched_face_id=request.face_id,
        face_matches=await _matches(context, collection, candidates, threshold),
        face_model_version=context.face_model_version,
    )


async def _probes(context: OperationContext, photo: bytes) -> list[Probe]:
    """Return the faces of a photo, the largest first; a photo without faces is no error here."""
    limit = context.service.settings.max_images
    try:
        return await context.active.pipeline.probe_all(photo, limit, context.caller)
    except (NoFace, FaceTooSmall):
        return []


async def _matches(
    context: OperationContext,
    collection: str,
    candidates: Sequence[FusedCandidate],
    threshold: float,
) -> list[FaceMatch]:
    matches = []
    for candidate in candidates:
        similar = context.similarity(candidate.similarity)
        if similar >= threshold:
            stored = await find_face(context.service.store, collection, candidate.template_id)
            # None if the face was deleted after the search.
            if stored is not None:
                matches.append(FaceMatch(similarity=similar, face=stored.face))
    return matches


async def _new_face(
    context: OperationContext, request: IndexFacesRequest, face: Face, probed: ProbedFace
) -> NewFace:
    """Return what to store of a face; a face that is stored already stays in its subject."""
    stored = await find_face(context.service.store, request.collection_id, face.face_id)
    subject = face.face_id if stored is None else stored.subject
    return NewFace(subject, face.face_id, probed, to_metadata(face))


def _record(
    context: OperationContext, request: IndexFacesRequest, probed: ProbedFace, digest: bytes
) -> FaceRecord:
    report = probed.probe.report
    left, top = f"{report.box.left:.0f}", f"{report.box.top:.0f}"
    # The same face of the same photo has the same id, so that indexing it again adds nothing.
    identity = "\0".join((request.collection_id, request.external_image_id or "", left, top))
    face = Face(
        face_id=_uuid(identity.encode() + digest),
        image_id=_uuid(digest),
        external_image_id=request.external_image_id,
        bounding_box=box_of(report),
        confidence=confidence_of(report, context.detector),
    )
    return FaceRecord(face=face, face_detail=FaceDetail.of(report, context.detector))


def _uuid(identity: bytes) -> str:
    return str(UUID(bytes=hashlib.sha256(identity).digest()[:16], version=5))


def _unindexed(
    context: OperationContext, probed: ProbedFace, reasons: list[Reason]
) -> UnindexedFace:
    detail = FaceDetail.of(probed.probe.report, context.detector)
    return UnindexedFace(reasons=reasons, face_detail=detail)


def _reasons(probed: ProbedFace) -> list[Reason]:
    codes = [
        issue.code for issue in harmful_issues(probed.probe.report.quality, probed.probe.template)
    ]
    return [_REASONS.get(code, "LOW_FACE_QUALITY") for code in codes]
