"""The errors of the service.

ServiceError
├── RequestError                 the request cannot be served
│   ├── InvalidRequest           a field is missing, unknown or wrong; names each of them
│   ├── InvalidPageToken         the token of the next page is not from this listing
│   ├── ThresholdTooLow          the threshold is below that of the laxest operating point
│   ├── UnsupportedBody          neither multipart/form-data nor application/json nor a photo
│   ├── NotAcceptable            the client accepts none of the media types of the answer
│   ├── BodyTooLarge             the body has more bytes than a request may have
│   ├── BodyTimeout              the body did not arrive in time
│   ├── HeadTooLarge             the head has more bytes or headers than a head may have
│   ├── HeadTimeout              the head did not arrive in time
│   ├── MalformedRequest         the request is not HTTP/1.1
│   ├── RouteNotFound            there is no route at the path
│   ├── MethodNotAllowed         the route does not take the method
│   └── ClientGone               the client disconnected: nothing is sent, only counted
├── AccessError                  the caller may not do this
│   ├── KeyMissing               the request needs a key and shows none
│   ├── KeyInvalid               the key that the request shows is not valid
│   ├── KeyForbidden             the key lacks the scope
│   ├── KeyBusy                  the key has reached its limits
│   ├── KeyNotFound              there is no key with this id to revoke
│   ├── HostNotAllowed           without keys: the request calls the service by a foreign name
│   ├── ProxyNotAllowed          without keys: the request came through a proxy
│   ├── LivenessTokenNeeded      the service needs a token that proves a living person
│   └── NotLive                  the liveness check failed
├── OverloadError                the request can be served, but not now
│   ├── TooManyRequests          every permit, or every connection, is taken
│   ├── LivenessUnavailable      the liveness checker does not answer
│   ├── QueueFull                the encoder's queue is full
│   ├── DeadlinePassed           the photo waited too long in the queue; it was not computed
│   ├── NotReady                 the service is still starting
│   └── Draining                 the service is shutting down
├── EncoderError                 the encoder thread fails
│   ├── EncoderFailed            the encoder raised an error for this caller's crop
│   ├── EncoderStalled           a forward pass does not end
│   └── EncoderStopped           the event loop or the thread has ended
├── DecoderStalled               the decode pool does not finish a photo
├── InvalidSettings              a setting is wrong; raised at start
├── EnrolmentError               the photo can be used, but would make a bad template
│   ├── LowQuality               the person would often not be recognised
│   └── Inconsistent             the photo does not resemble the subject's other photos
├── DifferentPeople              photos that should show one person show several
├── ChangeError                  a change of bundle
│   ├── NoChange                 no second bundle is loaded, or another one is named
│   ├── ChangeIncomplete         the bundle lacks templates that the other one has
│   ├── PhotoNeeded              the template's photo is neither stored nor sent
│   └── OtherPhoto               the photo that was sent is not the template's
└── StoreError                   the store lacks it, or is not available
    ├── SubjectNotFound          there is no such subject
    ├── SubjectExists            the new name is taken
    ├── TemplatesDamaged         all templates that could be compared are damaged
    ├── TemplatesExpired         all templates have expired; the subject is erased soon
    ├── TemplateNotFound         there is no such template
    ├── TemplateIdTaken          the id belongs to the template of another photo
    ├── CollectionNotFound       there is no such collection
    ├── CollectionExists         the name is taken
    ├── SubjectElsewhere         the subject is in another collection
    ├── IdempotencyConflict      the idempotency key was used for another request
    ├── NoMasterKey              sealing needs a master key, and there is none
    ├── StoreUnavailable         the store does not answer
    ├── StoreDamaged             the stored data cannot be read
    └── StoreInUse               another process uses the store; raised at start

Each class has its code, its HTTP status and, if the same request can succeed later, the number of
seconds to wait. The errors of the numerics are in `models.errors`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from models.errors import LikenessError


class ServiceError(LikenessError):
    """Add an HTTP status, and when to try again, to the errors of the numerics."""

    status: ClassVar[int] = 500
    retry_after_s: int | None = None


class RequestError(ServiceError):
    """The request cannot be served."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """Describe what is wrong with one field, without its value."""

    field: str
    message: str


class InvalidRequest(RequestError):
    """Name every wrong field, without its value."""

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
        "Send JSON as application/json. Send photos as multipart/form-data, as base64 in JSON, or "
        "one photo as the whole body."
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


def _new_key(scope: str) -> str:
    return (
        "If you have none, create one on the machine with the store, with the settings of the "
        f"service: `likeness keys create NAME --scope {scope}`. If the store is a file, stop the "
        "service first."
    )


_NEW_KEY: Final = (
    f"{_new_key('SCOPE')} SCOPE is `verify`, `enroll`, `embed` or `admin`; repeat --scope for more."
)


class KeyMissing(AccessError):
    code = "key_missing"
    status = 401
    advice = f"Commands with --url read the key from LIKENESS_API_KEY. {_NEW_KEY}"


class KeyInvalid(AccessError):
    code = "key_invalid"
    status = 401
    advice = f"Use a valid key. {_NEW_KEY}"


class KeyForbidden(AccessError):
    """Name the scope that the key lacks, with advice how to get a key that has it."""

    code = "key_forbidden"
    status = 403

    def __init__(self, scope: str, sentence: str | None = None) -> None:
        super().__init__(f"The key lacks the scope `{scope}`." if sentence is None else sentence)
        self.advice = f"Use a key with the scope `{scope}`. {_new_key(scope)}"


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
    advice = "Do the liveness check first; it returns the token."


class NotLive(AccessError):
    code = "not_live"
    status = 403
    advice = "Repeat the liveness check, in even light, with the camera at eye level."


class OverloadError(ServiceError):
    """The request can be served, but not now."""

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
    """The photo can be used, but would make a bad template; the caller can accept it anyway."""

    of_photo = True


class LowQuality(EnrolmentError):
    """Describe what is wrong with the photo, with advice against exactly that."""

    code = "low_quality"
    status = 422

    def __init__(self, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.advice = advice


class Inconsistent(EnrolmentError):
    code = "inconsistent"
    status = 422
    advice = "Check that every photo shows the subject. If they all do, accept this one."


class DifferentPeople(ServiceError):
    """Photos that should show one person seem to show several."""

    of_photo = True
    code = "different_people"
    status = 422
    advice = "Send photos of one person, whose face is the only or the largest one in each photo."


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


class StoreError(ServiceError):
    """The store lacks what was asked for, or cannot be used; most have one sentence each."""

    sentence = "The store cannot do this."

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(self.sentence if sentence is None else sentence)


class SubjectNotFound(StoreError):
    code = "subject_not_found"
    status = 404
    sentence = "There is no subject with this name."


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
    sentence = "The subject is in another collection. Choose another name, or delete it there."


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


# The HTTP status of the errors of the numerics, which know nothing of HTTP.
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
    """Return how many seconds to wait before the same request, None if it cannot succeed."""
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
