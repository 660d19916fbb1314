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

The errors of the numerics are in `models.errors`, those of the store written down in
`service.store_errors`, the HTTP status of all in `service.status`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.service_error import ServiceError as ServiceError
from service.store_errors import CollectionExists as CollectionExists
from service.store_errors import CollectionNotFound as CollectionNotFound
from service.store_errors import IdempotencyConflict as IdempotencyConflict
from service.store_errors import NoMasterKey as NoMasterKey
from service.store_errors import StoreDamaged as StoreDamaged
from service.store_errors import StoreError as StoreError
from service.store_errors import StoreInUse as StoreInUse
from service.store_errors import StoreUnavailable as StoreUnavailable
from service.store_errors import SubjectElsewhere as SubjectElsewhere
from service.store_errors import SubjectExists as SubjectExists
from service.store_errors import SubjectNotFound as SubjectNotFound
from service.store_errors import TemplateIdTaken as TemplateIdTaken
from service.store_errors import TemplateNotFound as TemplateNotFound
from service.store_errors import TemplatesDamaged as TemplatesDamaged
from service.store_errors import TemplatesExpired as TemplatesExpired


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

    def __init__(self, sentence: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(sentence)
        self.errors = tuple(errors)


class InvalidPageToken(RequestError):
    code = "invalid_page_token"


class ThresholdTooLow(RequestError):
    code = "threshold_too_low"


class UnsupportedBody(RequestError):
    code = "unsupported_body"
    advice = (
        "Send JSON as application/json, photos as multipart/form-data, as base64 in JSON, or bare."
    )


class NotAcceptable(RequestError):
    code = "not_acceptable"


class BodyTooLarge(RequestError):
    code = "body_too_large"
    advice: str | None = "Send fewer or smaller images; 1280 pixels on the long side are plenty."


class BodyTimeout(RequestError):
    code = "body_timeout"
    advice = "Send a smaller file, or try again over a better connection."


class HeadTooLarge(RequestError):
    code = "head_too_large"


class HeadTimeout(RequestError):
    code = "head_timeout"


class MalformedRequest(RequestError):
    code = "malformed_request"


class RouteNotFound(RequestError):
    code = "not_found"


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"


class ClientGone(RequestError):
    code = "client_gone"


class AccessError(ServiceError):
    """The caller may not do this."""


_NEW_KEY = (
    "If there is none, make one on the machine that has the store, with the settings of the "
    "service: `likeness keys create NAME --scope admin`. A store in a file is free for that while "
    "the service is stopped."
)


class KeyMissing(AccessError):
    code = "key_missing"
    advice = f"Commands with --url take a key from LIKENESS_API_KEY. {_NEW_KEY}"


class KeyInvalid(AccessError):
    code = "key_invalid"
    advice = f"Use a key that counts. {_NEW_KEY}"


class KeyForbidden(AccessError):
    code = "key_forbidden"
    advice = f"Use a key that has this scope. {_NEW_KEY}"


class KeyBusy(AccessError):
    code = "key_busy"
    retry_after_s = 1

    def __init__(self, sentence: str, retry_after_s: int = 1) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class KeyNotFound(AccessError):
    code = "key_not_found"


class HostNotAllowed(AccessError):
    code = "host_not_allowed"


class ProxyNotAllowed(AccessError):
    code = "proxy_not_allowed"


class LivenessTokenNeeded(AccessError):
    code = "liveness_token_needed"
    advice = "Go through the liveness check first; it gives the token."


class NotLive(AccessError):
    code = "not_live"
    advice = "Repeat the liveness check, in even light, with the camera at eye level."


class OverloadError(ServiceError):
    """The request is fine, now is the wrong moment."""

    retry_after_s = 1


class TooManyRequests(OverloadError):
    code = "too_many_requests"


class LivenessUnavailable(OverloadError):
    code = "liveness_unavailable"


class QueueFull(OverloadError):
    code = "queue_full"


class DeadlinePassed(OverloadError):
    code = "deadline_passed"


class NotReady(OverloadError):
    code = "not_ready"
    retry_after_s = 2


class Draining(OverloadError):
    code = "draining"
    retry_after_s = 5


class EncoderError(ServiceError):
    """The encoder thread fails."""


class EncoderFailed(EncoderError):
    of_photo = True
    code = "encoder_failed"


class EncoderStalled(EncoderError):
    code = "encoder_stalled"
    retry_after_s = 5


class EncoderStopped(EncoderError):
    code = "encoder_stopped"
    retry_after_s = 5


class DecoderStalled(ServiceError):
    code = "decoder_stalled"
    retry_after_s = 5


class InvalidSettings(ServiceError):
    code = "invalid_settings"


class EnrolmentError(ServiceError):
    """The photo can be used, and would make a bad template; who asks may accept it."""

    of_photo = True


class LowQuality(EnrolmentError):
    """Say what is wrong with the photo, and what to do about that very thing."""

    code = "low_quality"

    def __init__(self, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.advice = advice


class Inconsistent(EnrolmentError):
    code = "inconsistent"
    advice = "Make sure that every photo shows the subject; if they all do, accept this one."


class DifferentPeople(ServiceError):
    """Photos that were sent as one person's do not seem to show one."""

    of_photo = True
    code = "different_people"
    advice = "Send photos of one person, each with that face alone or largest in it."


class ChangeError(ServiceError):
    """A change of bundle is not possible, or not yet."""


class NoChange(ChangeError):
    code = "no_change"


class ChangeIncomplete(ChangeError):
    code = "change_incomplete"


class PhotoNeeded(ChangeError):
    of_photo = True
    code = "photo_needed"


class OtherPhoto(ChangeError):
    of_photo = True
    code = "other_photo"
