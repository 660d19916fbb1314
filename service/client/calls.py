"""Build the request of each route that callers use."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from os import PathLike
from typing import Literal, TypedDict, Unpack
from uuid import uuid4

from models.photo import FacePolicy
from service.client.call import Call, parse_as, path
from service.client.errors import Forbidden, Invalid, NotFound, Refused, RejectedPhoto
from service.client.photos import Photo, read_photo
from service.client.rows import MEDIA_TYPE as ROWS
from service.client.rows import FloatRows, read_rows
from service.schemas.admin import Health, ModelAnswer
from service.schemas.gallery import (
    DeletedAnswer,
    ExportAnswer,
    RenamedAnswer,
    SubjectAnswer,
    SubjectsAnswer,
)
from service.schemas.recognition import (
    EmbedAnswer,
    EmbeddedImage,
    EnrollAnswer,
    EnrolledImage,
    IdentifyAnswer,
    ProblemAnswer,
    VerifyAnswer,
)


class DecisionOptions(TypedDict, total=False):
    """Name the options of a decision: an operating point or a similarity as the threshold."""

    operating_point: str
    threshold: float
    policy: FacePolicy
    liveness_token: str


class EnrolOptions(TypedDict, total=False):
    """Name the options of an enrolment: what is stored, and which objections are ignored."""

    metadata: Mapping[str, str]
    expires_at: datetime
    consent: str
    purpose: str
    policy: FacePolicy
    accept_quality: bool
    accept_inconsistent: bool
    liveness_token: str


class EmbedOptions(TypedDict, total=False):
    """Name the options of an embedding."""

    output: Literal["vector", "features"]
    policy: FacePolicy


def verify(
    image: Photo | Sequence[Photo], subject: str, **options: Unpack[DecisionOptions]
) -> Call[VerifyAnswer]:
    """Decide whether one or several photos of one person show an enrolled subject."""
    photos = _photos(image)
    return _verify(photos, {"subject": subject, **options})


def verify_pair(
    source_image: Photo, target_image: Photo, **options: Unpack[DecisionOptions]
) -> Call[VerifyAnswer]:
    """Decide whether two photos show the same person."""
    photos = [
        ("source_image", read_photo(source_image)),
        ("target_image", read_photo(target_image)),
    ]
    return _verify(photos, options)


def _verify(photos: list[tuple[str, bytes]], fields: Mapping[str, object]) -> Call[VerifyAnswer]:
    return Call("POST", "/verify", parse_as(VerifyAnswer), fields=_texts(fields), photos=photos)


def _photos(image: Photo | Sequence[Photo]) -> list[tuple[str, bytes]]:
    images = [image] if isinstance(image, bytes | str | PathLike) else image
    several = images if isinstance(images, Sequence) else [images]
    return [("image", read_photo(each)) for each in several]


def identify(
    image: Photo | Sequence[Photo], *, limit: int = 5, **options: Unpack[DecisionOptions]
) -> Call[IdentifyAnswer]:
    """Find the enrolled subjects that one or several photos of one person show."""
    fields = _texts({"limit": limit, **options})
    photos = _photos(image)
    return Call("POST", "/identify", parse_as(IdentifyAnswer), fields=fields, photos=photos)


def enroll(
    subject: str,
    *images: Photo,
    template_id: str | None = None,
    idempotency_key: str | None = None,
    **options: Unpack[EnrolOptions],
) -> Call[EnrollAnswer]:
    """Store a subject's face from photos; photos that cannot be used are left out.

    Without an `idempotency_key` the request gets one of its own, so that it counts once however
    often it is sent. Raises RejectedPhoto if no photo can be used.
    """
    return Call(
        "POST",
        "/enroll",
        parse_as(EnrollAnswer),
        fields=_texts({"subject": subject, "template_id": template_id, **options}),
        photos=[("image", read_photo(image)) for image in images],
        headers={"idempotency-key": idempotency_key or uuid4().hex},
    )


def enroll_photo(
    subject: str, image: Photo, **options: Unpack[EnrolOptions]
) -> Call[EnrolledImage]:
    """Store a subject's face from one photo; a photo that cannot be used is an answer too."""
    return (
        enroll(subject, image, **options)
        .then(lambda answer: answer.images[0])
        .excused(
            lambda refused: EnrolledImage(image=0, status="failed", problem=_of_the_photo(refused))
        )
    )


def embed(*images: Photo, **options: Unpack[EmbedOptions]) -> Call[EmbedAnswer]:
    """Return the vectors or features of photos; nothing is stored."""
    photos = [("image", read_photo(image)) for image in images]
    return Call("POST", "/embed", parse_as(EmbedAnswer), fields=_texts(options), photos=photos)


def embed_rows(*images: Photo, **options: Unpack[EmbedOptions]) -> Call[FloatRows]:
    """Return the vectors or features of photos as an array of float32, faster than JSON."""
    photos = [("image", read_photo(image)) for image in images]
    headers = {"accept": f"{ROWS}, application/problem+json"}
    return Call("POST", "/embed", read_rows, fields=_texts(options), photos=photos, headers=headers)


def embed_photo(image: Photo, **options: Unpack[EmbedOptions]) -> Call[EmbeddedImage]:
    """Return the vector of one photo; a photo that cannot be used is an answer too."""
    return (
        embed(image, **options)
        .then(lambda answer: answer.images[0])
        .excused(
            lambda refused: EmbeddedImage(image=0, status="failed", problem=_of_the_photo(refused))
        )
    )


def subjects_page(after: str | None = None, limit: int = 1000) -> Call[SubjectsAnswer]:
    """List subjects sorted by name, from the one after `after`."""
    params: dict[str, str | int] = {"limit": limit}
    if after is not None:
        params["after"] = after
    return Call("GET", "/subjects", parse_as(SubjectsAnswer), params=params)


def subject(name: str) -> Call[SubjectAnswer]:
    """Show a subject and its templates, without vectors. Raises NotFound."""
    return Call("GET", path("subjects", name), parse_as(SubjectAnswer))


def photos_enrolled(name: str, fingerprint: str) -> Call[frozenset[str]]:
    """Return the SHA-256 of the photos of a subject's valid templates by one bundle.

    The set is empty for a subject that is not enrolled or has an invalid name, and if the key
    may not look up subjects.
    """

    def nothing(refused: Refused) -> frozenset[str]:
        if isinstance(refused, NotFound | Forbidden | Invalid):
            return frozenset()
        raise refused

    def photos(answer: SubjectAnswer) -> frozenset[str]:
        now = datetime.now(UTC)
        damaged = {(each.template_id, each.fingerprint) for each in answer.damaged}
        templates = (
            each
            for each in answer.templates
            if each.fingerprint == fingerprint and (each.template_id, fingerprint) not in damaged
        )
        return frozenset(
            each.image_sha256
            for each in templates
            if each.expires_at is None or each.expires_at > now
        )

    return subject(name).then(photos).excused(nothing)


def export(name: str) -> Call[ExportAnswer]:
    """Return everything that is stored about a subject. Raises NotFound."""
    return Call("GET", path("subjects", name, "export"), parse_as(ExportAnswer))


def rename_subject(name: str, to: str) -> Call[RenamedAnswer]:
    """Give a subject a name that no other subject has. Raises NotFound.

    It is not sent again after a connection broke off, since the answer would be NotFound.
    """
    form = {"to": to}
    parts = ("subjects", name, "rename")
    return Call("POST", path(*parts), parse_as(RenamedAnswer), json=form, repeatable=False)


def delete_subject(name: str) -> Call[DeletedAnswer]:
    """Delete a subject and return the receipt; everything is erased then. Raises NotFound.

    It is not sent again after a connection broke off, since the answer would be NotFound.
    """
    return _delete("/subjects", {"subject": name})


def delete_template(name: str, template_id: str) -> Call[DeletedAnswer]:
    """Delete one template; a subject without templates is deleted too. Raises NotFound."""
    return _delete(path("subjects", name, "templates"), {"template_id": template_id})


def _delete(where: str, what: Mapping[str, str]) -> Call[DeletedAnswer]:
    """Delete by a query, in which no id can be read as another path."""
    return Call("DELETE", where, parse_as(DeletedAnswer), params=what, repeatable=False)


def model() -> Call[ModelAnswer]:
    """Return the model card of the service: its bundle, thresholds and error rates."""
    return Call("GET", "/model", parse_as(ModelAnswer))


def ready() -> Call[Health]:
    """Ask, without retries, whether the service is ready. Raises Unavailable."""
    return Call("GET", "/readyz", parse_as(Health), patient=False)


def _of_the_photo(refused: Refused) -> ProblemAnswer:
    if not isinstance(refused, RejectedPhoto | Invalid):
        raise refused
    problem = refused.problem
    return ProblemAnswer(code=problem.code, detail=problem.detail, advice=problem.advice)


def _texts(given: Mapping[str, object]) -> dict[str, str]:
    """Return form fields without those that are None, and without False, which is the default."""
    fields = ((name, value) for name, value in given.items() if value is not None)
    return {name: _text(value) for name, value in fields if value is not False}


def _text(value: object) -> str:
    match value:
        case bool():
            return "true"
        case datetime():
            return value.isoformat()
        case Mapping():
            return json.dumps(dict(value))
        case _:
            return str(value)
