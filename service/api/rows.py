"""Answer with binary rows of numbers instead of JSON, for clients that read arrays."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from fastapi import Response
from pydantic import JsonValue

from service.client.rows import MEDIA_TYPE
from service.errors import NotAcceptable
from service.schemas.recognition import EmbedAnswer
from service.schemas.requests import BINARY

HEADERS = {
    "x-likeness-rows": "Rows in the body, one per image sent.",
    "x-likeness-dimension": "Numbers in a row.",
    "x-likeness-output": "What the numbers are: `vector` or `features`.",
    "x-likeness-fingerprint": "Fingerprint of the bundle that made them.",
    "x-likeness-failed": "Rows that are NaN, with the problem's code: `index:code,index:code`. "
    "Absent if there are none.",
}


def rows_response(answer: EmbedAnswer) -> Response:
    """Return the numbers of an answer as `(n, dimension)` float32, little-endian.

    Row i always belongs to image i. The row of an image that could not be used is all NaN, so
    that the rows after it do not shift.
    """
    rows = np.full((len(answer.images), answer.dimension), np.nan, "<f4")
    failed: list[str] = []
    for image in answer.images:
        if image.vector is not None:
            rows[image.image] = image.vector
        elif image.problem is not None:
            failed.append(f"{image.image}:{image.problem.code}")
    headers = {
        "x-likeness-rows": str(len(rows)),
        "x-likeness-dimension": str(answer.dimension),
        "x-likeness-output": answer.output,
        "x-likeness-fingerprint": answer.fingerprint,
    }
    if failed:
        headers["x-likeness-failed"] = ",".join(failed)
    return Response(rows.tobytes(), media_type=MEDIA_TYPE, headers=headers)


def rows_document() -> dict[str, JsonValue]:
    """Return the OpenAPI description of such an answer, beside the JSON."""
    return {
        "description": "JSON; or, if `Accept` prefers application/octet-stream, float32 rows, "
        "little-endian, in the order of the images, described by the headers.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": BINARY}}},
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in HEADERS.items()
        },
    }


_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def preferred_type(accept: str, offers: Sequence[str]) -> str:
    """Return the offered media type to which `accept` gives the highest weight.

    If weights are equal, the more exact match wins, then the first offer. An empty header gets
    the first offer. Raises NotAcceptable.
    """
    weights = _weights(accept)
    if not weights:
        return offers[0]
    ranks = [_rank(weights, offer) for offer in offers]
    best = max(ranks)
    if best[0] == 0:
        raise NotAcceptable(
            f"The Accept header allows none of the available types: {', '.join(offers)}."
        )
    return offers[ranks.index(best)]


def _weights(accept: str) -> dict[str, float]:
    """Return the weight, 0 to 1, of each range of an Accept header; ignore malformed ranges."""
    weights: dict[str, float] = {}
    for element in accept.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        if "/" in name and _WEIGHT.fullmatch(weight):
            weights[name] = max(float(weight), weights.get(name, 0.0))
    return weights


def _rank(weights: Mapping[str, float], media: str) -> tuple[float, int]:
    """Return the weight of the range that matches a media type most exactly, and how exactly."""
    names = ("*/*", f"{media.partition('/')[0]}/*", media)
    matches = [(weights[name], exact) for exact, name in enumerate(names) if name in weights]
    return matches[-1] if matches else (0.0, 0)
