"""Translate problems to Rekognition's errors, which the SDKs turn into typed exceptions."""

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
    """Return a problem in Rekognition's form.

    The status is 400 for faults of the caller. Faults of the service, and errors that say when to
    try again, keep their status, so that the SDKs try again exactly where that helps.
    """
    name = _name(problem)
    sentences = [problem.sentence, *([] if problem.advice is None else [problem.advice])]
    answer = {"__type": name, "Code": name, "Message": " ".join(sentences)}
    is_caller_fault = problem.status < HTTPStatus.INTERNAL_SERVER_ERROR
    if is_caller_fault and problem.status != HTTPStatus.TOO_MANY_REQUESTS:
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
