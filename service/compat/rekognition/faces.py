"""The operations that take a photo, and the search for a face that is indexed already."""

import hashlib
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from models.decision import similarity
from models.errors import FaceTooSmall, NoFace, naming
from service.compat.rekognition.answers import (
    Compared,
    ComparedMatch,
    Detected,
    FaceMatch,
    FaceRecord,
    Indexed,
    Reason,
    Searched,
    UnindexedFace,
)
from service.compat.rekognition.asked import Asked
from service.compat.rekognition.held import find_face, to_metadata
from service.compat.rekognition.requests import (
    CompareFaces,
    DetectFaces,
    IndexFaces,
    SearchFaces,
    SearchFacesByImage,
)
from service.compat.rekognition.shapes import Face, FaceDetail, SeenFace, box_of, confidence_of
from service.errors import FieldError, invalid_fields
from service.pipeline.pipeline import Probe
from service.recognition.enroll import NewFace, ProbedFace, enroll_faces, probe_faces
from service.recognition.identify import search_gallery
from service.recognition.matcher import FusedCandidate, comparable
from service.recognition.vetting import VettingStandard, harmful_issues

_REASONS: Final[dict[str, Reason]] = {
    "blurred": "LOW_SHARPNESS",
    "dark": "LOW_BRIGHTNESS",
    "overexposed": "LOW_BRIGHTNESS",
    "turned_away": "EXTREME_POSE",
}


async def compare(asked: Asked, form: CompareFaces) -> Compared:
    """Compare the largest face of one photo with every face of another."""
    least = asked.threshold("SimilarityThreshold", form.similarity_threshold)
    pipeline = asked.serving.pipeline
    with naming("SourceImage"):
        source = await pipeline.probe(form.source_image.photo, "largest", asked.caller)
    with naming("TargetImage"):
        faces = await _faces(asked, form.target_image.photo)
    matches, others = [], []
    for face in faces:
        detail = FaceDetail.of(face.report, asked.detector)
        alike = asked.similarity(similarity(source.template, face.template))
        if alike >= least:
            matches.append(ComparedMatch(similarity=alike, face=detail))
        else:
            others.append(detail)
    return Compared(
        source_image_face=SeenFace(
            bounding_box=box_of(source.report),
            confidence=confidence_of(source.report, asked.detector),
        ),
        face_matches=sorted(matches, key=lambda match: -match.similarity),
        unmatched_faces=others,
    )


async def detect(asked: Asked, form: DetectFaces) -> Detected:
    """Tell where the faces are, and how good."""
    faces = await _faces(asked, form.image.photo)
    return Detected(face_details=[FaceDetail.of(face.report, asked.detector) for face in faces])


async def index(asked: Asked, form: IndexFaces) -> Indexed:
    """Add the faces of a photo to a collection; the same photo again keeps their ids."""
    service, photo = asked.service, form.image.photo
    # Before the encoder: an unknown collection costs nothing.
    await service.store.collection(form.collection_id)
    gate = "off" if form.quality_filter == "NONE" else service.settings.enroll_quality
    seen = await probe_faces(
        service, asked.serving, photo, VettingStandard(gate, None), asked.caller
    )
    refused: list[ProbedFace] = []
    good: list[ProbedFace] = []
    for face in seen:
        (refused if gate == "refuse" and face.low_quality is not None else good).append(face)
    most = form.max_faces or len(good)
    kept, beyond = good[:most], good[most:]
    digest = hashlib.sha256(photo).digest()
    records = [_record(asked, form, face, digest) for face in kept]
    new = [
        await _new(asked, form, record.face, face)
        for record, face in zip(records, kept, strict=True)
    ]
    await enroll_faces(service, form.collection_id, photo, new, asked.by)
    return Indexed(
        face_records=records,
        unindexed_faces=[
            *(_unindexed(asked, face, _reasons(face)) for face in refused),
            *(_unindexed(asked, face, ["EXCEEDS_MAX_FACES"]) for face in beyond),
        ],
        face_model_version=asked.face_model_version,
    )


async def search_by_image(asked: Asked, form: SearchFacesByImage) -> Searched:
    """Search a collection for the largest face of a photo."""
    await asked.service.store.collection(form.collection_id)
    least = asked.threshold("FaceMatchThreshold", form.face_match_threshold)
    probe = await asked.serving.pipeline.probe(form.image.photo, "largest", asked.caller)
    found = await search_gallery(
        asked.service, asked.serving, probe.template, form.max_faces, form.collection_id
    )
    return Searched(
        searched_face_bounding_box=box_of(probe.report),
        searched_face_confidence=confidence_of(probe.report, asked.detector),
        face_matches=await _matches(asked, form.collection_id, found, least),
        face_model_version=asked.face_model_version,
    )


async def search(asked: Asked, form: SearchFaces) -> Searched:
    """Search a collection for the faces like one of its own."""
    store, fingerprint = asked.service.store, asked.serving.fingerprint
    await store.collection(form.collection_id)
    least = asked.threshold("FaceMatchThreshold", form.face_match_threshold)
    found = await find_face(store, form.collection_id, form.face_id)
    if found is None:
        raise invalid_fields([FieldError("FaceId", "The collection has no such face")])
    held = await store.templates_of(found.subject)
    probe = asked.serving.template(comparable(held, fingerprint)[0])
    others = await search_gallery(
        asked.service, asked.serving, probe, form.max_faces, form.collection_id, found.subject
    )
    return Searched(
        searched_face_id=form.face_id,
        face_matches=await _matches(asked, form.collection_id, others, least),
        face_model_version=asked.face_model_version,
    )


async def _faces(asked: Asked, photo: bytes) -> list[Probe]:
    """Return the faces, the largest first; here a photo without any is no error."""
    most = asked.service.settings.max_images
    try:
        return await asked.serving.pipeline.probe_all(photo, most, asked.caller)
    except (NoFace, FaceTooSmall):
        return []


async def _matches(
    asked: Asked, collection: str, found: Sequence[FusedCandidate], least: float
) -> list[FaceMatch]:
    matches = []
    for each in found:
        similar = asked.similarity(each.similarity)
        if similar >= least:
            held = await find_face(asked.service.store, collection, each.template_id)
            # None: deleted since it was found.
            if held is not None:
                matches.append(FaceMatch(similarity=similar, face=held.face))
    return matches


async def _new(asked: Asked, form: IndexFaces, face: Face, seen: ProbedFace) -> NewFace:
    """Return what to store of a face; one that is there stays in its subject."""
    held = await find_face(asked.service.store, form.collection_id, face.face_id)
    subject = face.face_id if held is None else held.subject
    return NewFace(subject, face.face_id, seen, to_metadata(face))


def _record(asked: Asked, form: IndexFaces, seen: ProbedFace, digest: bytes) -> FaceRecord:
    report = seen.probe.report
    box = report.box
    # The same face of the same photo has the same id, so that indexing it again adds nothing.
    name = f"{form.collection_id}\0{form.external_image_id or ''}\0{box.left:.0f}\0{box.top:.0f}"
    face = Face(
        face_id=_id(name.encode() + digest),
        image_id=_id(digest),
        external_image_id=form.external_image_id,
        bounding_box=box_of(report),
        confidence=confidence_of(report, asked.detector),
    )
    return FaceRecord(face=face, face_detail=FaceDetail.of(report, asked.detector))


def _id(of: bytes) -> str:
    return str(UUID(bytes=hashlib.sha256(of).digest()[:16], version=5))


def _unindexed(asked: Asked, seen: ProbedFace, reasons: list[Reason]) -> UnindexedFace:
    detail = FaceDetail.of(seen.probe.report, asked.detector)
    return UnindexedFace(reasons=reasons, face_detail=detail)


def _reasons(seen: ProbedFace) -> list[Reason]:
    codes = [issue.code for issue in harmful_issues(seen.probe.report.quality, seen.probe.template)]
    return [_REASONS.get(code, "LOW_FACE_QUALITY") for code in codes]
