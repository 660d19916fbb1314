"""What can go wrong around the pipeline.

ServiceError
├── RequestError                 the request is not one that can be served
│   ├── InvalidRequest           a field is missing, unknown or wrong; names each of them
│   ├── InvalidPageToken         what is to continue a listing comes from elsewhere
│   ├── ThresholdTooLow          below that of the laxest operating point
│   ├── UnsupportedBody          neither multipart/form-data nor application/json nor a photo
│   ├── NotAcceptable            the answer would come in no media type that is accepted
│   ├── BodyTooLarge             more bytes than one request may carry
│   ├── BodyTimeout              the body stopped arriving
│   ├── HeadTooLarge             more bytes or headers than a head may have
│   ├── HeadTimeout              the head stopped arriving
│   ├── MalformedRequest         it is no HTTP/1.1
│   ├── RouteNotFound
│   ├── MethodNotAllowed
│   └── ClientGone               the caller hung up: nothing is sent, only counted
├── AccessError                  the caller may not do this
│   ├── KeyMissing               a key is needed and none is shown
│   ├── KeyInvalid               the key that is shown does not count
│   ├── KeyForbidden             it lacks the scope
│   ├── KeyBusy                  it has used up what it may
│   ├── KeyNotFound              there is no key of this id to revoke
│   ├── HostNotAllowed           no key is asked for, and the service is called by a strange name
│   ├── ProxyNotAllowed          no key is asked for, and a proxy stands between
│   ├── LivenessTokenNeeded      the deployment asks for proof of a living person
│   └── NotLive                  the proof does not hold
├── OverloadError                the request is fine, now is the wrong moment
│   ├── TooManyRequests          every permit, or every connection, is taken
│   ├── LivenessUnavailable      the service that checks the proof does not answer
│   ├── QueueFull                the encoder's queue is full
│   ├── DeadlinePassed           waited too long in the queue; never computed
│   ├── NotReady                 still starting
│   └── Draining                 shutting down
├── EncoderError                 the encoder thread fails
│   ├── EncoderFailed            this caller's crop made the encoder raise
│   ├── EncoderStalled           a forward pass hangs
│   └── EncoderStopped           the loop or the thread died
├── DecoderStalled               a photo hangs in the decode pool
├── InvalidSettings              raised at start
├── EnrolmentError               the photo can be used, and would make a bad template
│   ├── LowQuality               whom it shows would often not be recognised by it
│   └── Inconsistent             it does not resemble the subject's other photos
├── DifferentPeople              photos sent as one person's do not show one
├── ChangeError                  a change of bundle
│   ├── NoChange                 no second bundle is loaded, or not the one that is named
│   ├── ChangeIncomplete         the bundle lacks templates that the other has
│   ├── PhotoNeeded              the template's photo was not kept and not sent
│   └── OtherPhoto               the photo that was sent is not the template's
└── StoreError
    ├── SubjectNotFound
    ├── SubjectExists            the new name is taken
    ├── TemplatesDamaged         the subject has no other that could be compared
    ├── TemplatesExpired         the subject has no other, and is about to be erased
    ├── TemplateNotFound
    ├── TemplateIdTaken          the id exists with another image
    ├── CollectionNotFound
    ├── CollectionExists         the name is taken
    ├── SubjectElsewhere         the subject is in another collection
    ├── IdempotencyConflict      the key was used for another request
    ├── NoMasterKey              nothing can be sealed without one
    ├── StoreUnavailable
    ├── StoreDamaged             what was asked for is stored and cannot be read
    └── StoreInUse               another process holds the store; raised at start

Each class carries its code, its HTTP status and, where a repeated request can succeed, after how
many seconds. The errors of the numerics are in `models.errors`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from models.errors import LikenessError


class ServiceError(LikenessError):
    """Carry what a model error carries, and when trying again makes sense."""

    status: ClassVar[int] = 500
    retry_after_s: int | None = None


class StoreError(ServiceError):
    """The store lacks what was asked for, or cannot be used; most have one sentence each."""

    sentence = "The store cannot do this."

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(self.sentence if sentence is None else sentence)


class SubjectNotFound(StoreError):
    code = "subject_not_found"
    status = 404
    sentence = "There is no subject with this id."


class SubjectExists(StoreError):
    code = "subject_exists"
    status = 409
    sentence = "Another subject has the new name. Choose another name, or delete that subject."


class TemplatesDamaged(StoreError):
    code = "templates_damaged"
    status = 409


class TemplatesExpired(StoreError):
    code = "templates_expired"
    status = 404


class TemplateNotFound(StoreError):
    code = "template_not_found"
    status = 404
    sentence = "There is no template with this id."


class TemplateIdTaken(StoreError):
    code = "template_id_taken"
    status = 409
    sentence = "Another template has this id. Choose another id, or delete that template."


class CollectionNotFound(StoreError):
    code = "collection_not_found"
    status = 404
    sentence = "There is no collection with this name."


class CollectionExists(StoreError):
    code = "collection_exists"
    status = 409
    sentence = "A collection with this name exists already. Choose another name."


class SubjectElsewhere(StoreError):
    code = "subject_elsewhere"
    status = 409
    sentence = "The subject is in another collection. Choose another id, or delete it there."


class IdempotencyConflict(StoreError):
    code = "idempotency_conflict"
    status = 422
    sentence = "This idempotency key was used for another request. Choose a new key for each."


class NoMasterKey(StoreError):
    code = "no_master_key"
    status = 409
    sentence = "There is no master key to encrypt with. Set LIKENESS_MASTER_KEYS_FILE."


class StoreUnavailable(StoreError):
    code = "store_unavailable"
    status = 503
    retry_after_s = 2


class StoreDamaged(StoreError):
    code = "store_damaged"
    status = 409


class StoreInUse(StoreError):
    code = "store_in_use"
    status = 503
    retry_after_s = 5


class RequestError(ServiceError):
    """The request is not one that can be served."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """Say what is wrong with one field, without repeating its value."""

    field: str
    message: str


class InvalidRequest(RequestError):
    """Name every field that is wrong; never their values."""

    code = "invalid_request"
    status = 422

    def __init__(self, sentence: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(sentence)
        self.errors = tuple(errors)


# A request with thousands of wrong fields does not get all of them back.
_MAX_FIELDS: Final = 32


def invalid_fields(errors: Sequence[FieldError]) -> InvalidRequest:
    """Return the error for one or more wrong fields; its sentence names the first."""
    first, more = errors[0], len(errors) - 1
    rest = f" {more} more in `errors`." if more else ""
    return InvalidRequest(f"{first.field}: {first.message}.{rest}", errors[:_MAX_FIELDS])


class InvalidPageToken(RequestError):
    code = "invalid_page_token"
    status = 422


class ThresholdTooLow(RequestError):
    code = "threshold_too_low"
    status = 422


class UnsupportedBody(RequestError):
    code = "unsupported_body"
    status = 415
    advice = (
        "Send JSON as application/json, photos as multipart/form-data, as base64 in JSON, or bare."
    )


class NotAcceptable(RequestError):
    code = "not_acceptable"
    status = 406


class BodyTooLarge(RequestError):
    code = "body_too_large"
    status = 413
    advice: str | None = "Send fewer or smaller images; 1280 pixels on the long side are plenty."


class BodyTimeout(RequestError):
    code = "body_timeout"
    status = 408
    advice = "Send a smaller file, or try again over a better connection."


class HeadTooLarge(RequestError):
    code = "head_too_large"
    status = 431


class HeadTimeout(RequestError):
    code = "head_timeout"
    status = 408


class MalformedRequest(RequestError):
    code = "malformed_request"
    status = 400


class RouteNotFound(RequestError):
    code = "not_found"
    status = 404


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"
    status = 405


class ClientGone(RequestError):
    code = "client_gone"
    status = 499


class AccessError(ServiceError):
    """The caller may not do this."""


_NEW_KEY = (
    "If there is none, make one on the machine that has the store, with the settings of the "
    "service: `likeness keys create NAME --scope admin`. A store in a file is free for that while "
    "the service is stopped."
)


class KeyMissing(AccessError):
    code = "key_missing"
    status = 401
    advice = f"Commands with --url take a key from LIKENESS_API_KEY. {_NEW_KEY}"


class KeyInvalid(AccessError):
    code = "key_invalid"
    status = 401
    advice = f"Use a key that counts. {_NEW_KEY}"


class KeyForbidden(AccessError):
    code = "key_forbidden"
    status = 403
    advice = f"Use a key that has this scope. {_NEW_KEY}"


class KeyBusy(AccessError):
    code = "key_busy"
    status = 429
    retry_after_s = 1

    def __init__(self, sentence: str, retry_after_s: int = 1) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class KeyNotFound(AccessError):
    code = "key_not_found"
    status = 404


class HostNotAllowed(AccessError):
    code = "host_not_allowed"
    status = 403


class ProxyNotAllowed(AccessError):
    code = "proxy_not_allowed"
    status = 403


class LivenessTokenNeeded(AccessError):
    code = "liveness_token_needed"
    status = 422
    advice = "Go through the liveness check first; it gives the token."


class NotLive(AccessError):
    code = "not_live"
    status = 403
    advice = "Repeat the liveness check, in even light, with the camera at eye level."


class OverloadError(ServiceError):
    """The request is fine, now is the wrong moment."""

    retry_after_s = 1


class TooManyRequests(OverloadError):
    code = "too_many_requests"
    status = 429


class LivenessUnavailable(OverloadError):
    code = "liveness_unavailable"
    status = 503


class QueueFull(OverloadError):
    code = "queue_full"
    status = 429


class DeadlinePassed(OverloadError):
    code = "deadline_passed"
    status = 504


class NotReady(OverloadError):
    code = "not_ready"
    status = 503
    retry_after_s = 2


class Draining(OverloadError):
    code = "draining"
    status = 503
    retry_after_s = 5


class EncoderError(ServiceError):
    """The encoder thread fails."""


class EncoderFailed(EncoderError):
    of_photo = True
    code = "encoder_failed"
    status = 500


class EncoderStalled(EncoderError):
    code = "encoder_stalled"
    status = 503
    retry_after_s = 5


class EncoderStopped(EncoderError):
    code = "encoder_stopped"
    status = 503
    retry_after_s = 5


class DecoderStalled(ServiceError):
    code = "decoder_stalled"
    status = 503
    retry_after_s = 5


class InvalidSettings(ServiceError):
    code = "invalid_settings"
    status = 500


class EnrolmentError(ServiceError):
    """The photo can be used, and would make a bad template; who asks may accept it."""

    of_photo = True


class LowQuality(EnrolmentError):
    """Say what is wrong with the photo, and what to do about that very thing."""

    code = "low_quality"
    status = 422

    def __init__(self, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.advice = advice


class Inconsistent(EnrolmentError):
    code = "inconsistent"
    status = 422
    advice = "Make sure that every photo shows the subject; if they all do, accept this one."


class DifferentPeople(ServiceError):
    """Photos that were sent as one person's do not seem to show one."""

    of_photo = True
    code = "different_people"
    status = 422
    advice = "Send photos of one person, each with that face alone or largest in it."


class ChangeError(ServiceError):
    """A change of bundle is not possible, or not yet."""


class NoChange(ChangeError):
    code = "no_change"
    status = 409


class ChangeIncomplete(ChangeError):
    code = "change_incomplete"
    status = 409


class PhotoNeeded(ChangeError):
    of_photo = True
    code = "photo_needed"
    status = 422


class OtherPhoto(ChangeError):
    of_photo = True
    code = "other_photo"
    status = 422


# The numerics know of no HTTP: what an error of theirs is to a caller is said here.
_OF_MODELS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "image_too_large": 413,
        "not_an_image": 415,
        "unsupported_image": 415,
        "too_many_pixels": 422,
        "undecodable_image": 422,
        "pixel_budget_spent": 422,
        "no_face": 422,
        "several_faces": 422,
        "face_too_small": 422,
        "invalid_bundle": 500,
        "degenerate_vector": 500,
        "wrong_row_count": 500,
        "out_of_memory": 503,
        "device_lost": 503,
        "fingerprint_mismatch": 409,
        "unknown_operating_point": 422,
        "uncalibrated": 422,
        "internal_error": 500,
    }
)
_MODEL_RETRY_S = 5


def status(error: LikenessError) -> int:
    """Return the HTTP status of an error."""
    return error.status if isinstance(error, ServiceError) else _OF_MODELS[error.code]


def retry_after_s(error: LikenessError) -> int | None:
    """Return after how many seconds a repeated request can succeed, None if it never can."""
    if isinstance(error, ServiceError):
        return error.retry_after_s
    return _MODEL_RETRY_S if status(error) == 503 else None


def _own(kind: type[ServiceError] = ServiceError) -> Iterator[tuple[str, int]]:
    for child in kind.__subclasses__():
        if "code" in vars(child):
            yield child.code, child.status
        yield from _own(child)


STATUS: Final[Mapping[str, int]] = MappingProxyType({**_OF_MODELS, **dict(_own())})
"""The HTTP status of every code that an answer can carry."""
