"""Say every problem in Rekognition's words, which the SDKs turn into typed exceptions."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from service.compat.translation import Translation
from service.schemas.problem import Problem

MEDIA_TYPE: Final = "application/x-amz-json-1.1"

_INVALID = "InvalidParameterException"
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "key_missing": "MissingAuthenticationTokenException",
        "key_invalid": "UnrecognizedClientException",
        "key_forbidden": "AccessDeniedException",
        "host_not_allowed": "AccessDeniedException",
        "proxy_not_allowed": "AccessDeniedException",
        "liveness_token_needed": "AccessDeniedException",
        "not_an_image": "InvalidImageFormatException",
        "unsupported_image": "InvalidImageFormatException",
        "undecodable_image": "InvalidImageFormatException",
        "image_too_large": "ImageTooLargeException",
        "too_many_pixels": "ImageTooLargeException",
        "pixel_budget_spent": "ImageTooLargeException",
        "body_too_large": "ImageTooLargeException",
        "not_found": "UnknownOperationException",
        "invalid_page_token": "InvalidPaginationTokenException",
        "subject_not_found": "ResourceNotFoundException",
        "templates_expired": "ResourceNotFoundException",
        "template_not_found": "ResourceNotFoundException",
        "collection_not_found": "ResourceNotFoundException",
        "collection_exists": "ResourceAlreadyExistsException",
        "fingerprint_mismatch": "ResourceNotReadyException",
    }
)


def translate(problem: Problem) -> Translation:
    """Return a problem as Rekognition says it: 400 for whatever the caller can mend.

    What is none of the caller's faults, and what says when to come back, keeps its status: so
    the SDKs try again where that helps, and nowhere else.
    """
    name = _name(problem)
    words = [problem.sentence] if problem.advice is None else [problem.sentence, problem.advice]
    answer = {"__type": name, "Code": name, "Message": " ".join(words)}
    mendable = problem.status < HTTPStatus.INTERNAL_SERVER_ERROR
    if mendable and problem.status != HTTPStatus.TOO_MANY_REQUESTS:
        status = HTTPStatus.BAD_REQUEST
    else:
        status = HTTPStatus(problem.status)
    request_id = {} if problem.request_id is None else {"x-amzn-requestid": problem.request_id}
    return Translation(int(status), json.dumps(answer).encode(), MEDIA_TYPE, request_id)


def _name(problem: Problem) -> str:
    match problem.status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return "ThrottlingException"
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return "ServiceUnavailableException"
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return "InternalServerError"
        case _:
            return _NAMES.get(problem.code, _INVALID)
