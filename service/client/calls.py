"""What can be asked of a service: a call for each route that callers use."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypedDict, Unpack
from uuid import uuid4

from models.datasets.folders import read_photo_file
from service.client.call import Call, of, path
from service.client.errors import Forbidden, Invalid, NotFound, Refused, RejectedPhoto
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

if TYPE_CHECKING:
    from models.photo import Policy

Photo = bytes | str | PathLike[str] | BinaryIO


class Choice(TypedDict, total=False):
    """Say where the decision should lie: at an operating point, or at a similarity."""

    operating_point: str
    threshold: float
    policy: "Policy"
    liveness_token: str


class Terms(TypedDict, total=False):
    """Say what is stored beside a template, and what is accepted although it speaks against it."""

    metadata: Mapping[str, str]
    expires_at: datetime
    consent: str
    purpose: str
    policy: "Policy"
    accept_quality: bool
    accept_inconsistent: bool
    liveness_token: str


class Embedding(TypedDict, total=False):
    """Say what of a photo is wanted."""

    output: Literal["vector", "features"]
    policy: "Policy"


def verify(
    image: Photo | Sequence[Photo], subject: str, **choice: Unpack[Choice]
) -> Call[VerifyAnswer]:
    """Decide whether a photo, or several of one person, shows an enrolled subject."""
    photos = _photos(image)
    return _verify(photos, {"subject": subject, **choice})


def verify_pair(
    source_image: Photo, target_image: Photo, **choice: Unpack[Choice]
) -> Call[VerifyAnswer]:
    """Decide whether two photos show one person."""
    photos = [
        ("source_image", read_photo(source_image)),
        ("target_image", read_photo(target_image)),
    ]
    return _verify(photos, choice)


def _verify(photos: list[tuple[str, bytes]], fields: Mapping[str, object]) -> Call[VerifyAnswer]:
    return Call("POST", "/verify", of(VerifyAnswer), fields=_texts(fields), photos=photos)


def _photos(image: Photo | Sequence[Photo]) -> list[tuple[str, bytes]]:
    images = [image] if isinstance(image, bytes | str | PathLike) else image
    several = images if isinstance(images, Sequence) else [images]
    return [("image", read_photo(each)) for each in several]


def identify(
    image: Photo | Sequence[Photo], *, limit: int = 5, **choice: Unpack[Choice]
) -> Call[IdentifyAnswer]:
    """Find whom a photo, or several of one person, shows among the enrolled subjects."""
    fields = _texts({"limit": limit, **choice})
    photos = _photos(image)
    return Call("POST", "/identify", of(IdentifyAnswer), fields=fields, photos=photos)


def enroll(
    subject: str,
    *images: Photo,
    template_id: str | None = None,
    idempotency_key: str | None = None,
    **terms: Unpack[Terms],
) -> Call[EnrollAnswer]:
    """Store a subject's face from photos; whichever cannot be used harms no other.

    Without an `idempotency_key` the call gets one of its own, so that it counts once however
    often it is sent. Raises RejectedPhoto if no photo can be used.
    """
    return Call(
        "POST",
        "/enroll",
        of(EnrollAnswer),
        fields=_texts({"subject": subject, "template_id": template_id, **terms}),
        photos=[("image", read_photo(image)) for image in images],
        headers={"idempotency-key": idempotency_key or uuid4().hex},
    )


def enroll_photo(subject: str, image: Photo, **terms: Unpack[Terms]) -> Call[EnrolledImage]:
    """Store a subject's face from one photo; what is wrong with it is an answer too."""
    return (
        enroll(subject, image, **terms)
        .then(lambda answer: answer.images[0])
        .excused(
            lambda refused: EnrolledImage(image=0, status="failed", problem=_of_the_photo(refused))
        )
    )


def embed(*images: Photo, **how: Unpack[Embedding]) -> Call[EmbedAnswer]:
    """Return the vectors or features of photos; nothing is stored."""
    photos = [("image", read_photo(image)) for image in images]
    return Call("POST", "/embed", of(EmbedAnswer), fields=_texts(how), photos=photos)


def embed_rows(*images: Photo, **how: Unpack[Embedding]) -> Call[FloatRows]:
    """Return what `embed` does as an array of float32: there are no numbers to parse."""
    photos = [("image", read_photo(image)) for image in images]
    headers = {"accept": f"{ROWS}, application/problem+json"}
    return Call("POST", "/embed", read_rows, fields=_texts(how), photos=photos, headers=headers)


def embed_photo(image: Photo, **how: Unpack[Embedding]) -> Call[EmbeddedImage]:
    """Return the vector of one photo; what is wrong with it is an answer too."""
    return (
        embed(image, **how)
        .then(lambda answer: answer.images[0])
        .excused(
            lambda refused: EmbeddedImage(image=0, status="failed", problem=_of_the_photo(refused))
        )
    )


def subjects_page(after: str | None = None, limit: int = 1000) -> Call[SubjectsAnswer]:
    """List subjects in the order of their names, those after a name."""
    params: dict[str, str | int] = {"limit": limit}
    if after is not None:
        params["after"] = after
    return Call("GET", "/subjects", of(SubjectsAnswer), params=params)


def subject(name: str) -> Call[SubjectAnswer]:
    """Show a subject and its templates, without vectors. Raises NotFound."""
    return Call("GET", path("subjects", name), of(SubjectAnswer))


def held(name: str, fingerprint: str) -> Call[frozenset[str]]:
    """Return the SHA-256 of the photos that a subject has valid templates of, by one bundle.

    None for somebody who is not enrolled or cannot be, and where the key may not look.
    """

    def nothing(refused: Refused) -> frozenset[str]:
        if isinstance(refused, NotFound | Forbidden | Invalid):
            return frozenset()
        raise refused

    def photos(answer: SubjectAnswer) -> frozenset[str]:
        now = datetime.now(UTC)
        lost = {(each.template_id, each.fingerprint) for each in answer.damaged}
        made = (
            one
            for one in answer.templates
            if one.fingerprint == fingerprint and (one.template_id, fingerprint) not in lost
        )
        return frozenset(
            one.image_sha256 for one in made if one.expires_at is None or one.expires_at > now
        )

    return subject(name).then(photos).excused(nothing)


def export(name: str) -> Call[ExportAnswer]:
    """Return everything that is stored of a subject. Raises NotFound."""
    return Call("GET", path("subjects", name, "export"), of(ExportAnswer))


def rename_subject(name: str, to: str) -> Call[RenamedAnswer]:
    """Give a subject a name that nobody has. Raises NotFound.

    Not sent again after a connection broke off: the answer would be NotFound, not the receipt.
    """
    form = {"to": to}
    parts = ("subjects", name, "rename")
    return Call("POST", path(*parts), of(RenamedAnswer), json=form, repeatable=False)


def delete_subject(name: str) -> Call[DeletedAnswer]:
    """Delete a subject; when this returns it is gone, and here is the receipt. Raises NotFound.

    Not sent again after a connection broke off: the answer would be NotFound, not the receipt.
    """
    return _delete("/subjects", {"subject": name})


def delete_template(name: str, template_id: str) -> Call[DeletedAnswer]:
    """Delete one template; with its last a subject goes too. Raises NotFound."""
    return _delete(path("subjects", name, "templates"), {"template_id": template_id})


def _delete(where: str, what: Mapping[str, str]) -> Call[DeletedAnswer]:
    """Name what is to go in the query: no id there can be read as another path."""
    return Call("DELETE", where, of(DeletedAnswer), params=what, repeatable=False)


def model() -> Call[ModelAnswer]:
    """Show what decides there, and how well it does."""
    return Call("GET", "/model", of(ModelAnswer))


def ready() -> Call[Health]:
    """Ask once whether requests can be served now. Raises Unavailable."""
    return Call("GET", "/readyz", of(Health), patient=False)


def read_photo(photo: Photo) -> bytes:
    """Return the bytes of a photo that is given as bytes, as a path or as an open file."""
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | PathLike):
        return read_photo_file(Path(photo))
    return photo.read()


def _of_the_photo(refused: Refused) -> ProblemAnswer:
    if not isinstance(refused, RejectedPhoto | Invalid):
        raise refused
    problem = refused.problem
    return ProblemAnswer(code=problem.code, detail=problem.detail, advice=problem.advice)


def _texts(given: Mapping[str, object]) -> dict[str, str]:
    """Write form fields; what is not given is left out, and what is false, as it is by default."""
    told = ((name, value) for name, value in given.items() if value is not None)
    return {name: _text(value) for name, value in told if value is not False}


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
