"""The HTTP status of every error there is, and when to try again."""

from collections.abc import Mapping
from types import MappingProxyType

from models.errors import LikenessError
from service.errors import ServiceError

STATUS: Mapping[str, int] = MappingProxyType(
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
        "invalid_request": 422,
        "invalid_page_token": 422,
        "threshold_too_low": 422,
        "unsupported_body": 415,
        "not_acceptable": 406,
        "body_too_large": 413,
        "body_timeout": 408,
        "head_too_large": 431,
        "head_timeout": 408,
        "malformed_request": 400,
        "not_found": 404,
        "method_not_allowed": 405,
        "client_gone": 499,
        "too_many_requests": 429,
        "liveness_unavailable": 503,
        "queue_full": 429,
        "deadline_passed": 504,
        "not_ready": 503,
        "draining": 503,
        "encoder_failed": 500,
        "encoder_stalled": 503,
        "encoder_stopped": 503,
        "decoder_stalled": 503,
        "invalid_settings": 500,
        "key_missing": 401,
        "key_invalid": 401,
        "key_forbidden": 403,
        "key_busy": 429,
        "key_not_found": 404,
        "host_not_allowed": 403,
        "proxy_not_allowed": 403,
        "liveness_token_needed": 422,
        "not_live": 403,
        "low_quality": 422,
        "inconsistent": 422,
        "different_people": 422,
        "no_change": 409,
        "change_incomplete": 409,
        "photo_needed": 422,
        "other_photo": 422,
        "subject_not_found": 404,
        "subject_exists": 409,
        "templates_damaged": 409,
        "templates_expired": 404,
        "template_not_found": 404,
        "template_id_taken": 409,
        "collection_not_found": 404,
        "collection_exists": 409,
        "subject_elsewhere": 409,
        "idempotency_conflict": 422,
        "no_master_key": 409,
        "store_unavailable": 503,
        "store_damaged": 409,
        "store_in_use": 503,
        "internal_error": 500,
    }
)

_MODEL_RETRY_S = 5


def status(error: LikenessError) -> int:
    """Return the HTTP status of an error."""
    return STATUS[error.code]


def retry_after_s(error: LikenessError) -> int | None:
    """Return after how many seconds trying again makes sense, None if it never does."""
    if isinstance(error, ServiceError):
        return error.retry_after_s
    return _MODEL_RETRY_S if status(error) == 503 else None
