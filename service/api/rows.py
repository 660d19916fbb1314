"""Answer with bare rows of numbers instead of JSON, for callers who put them into arrays."""

import numpy as np
from fastapi import Response
from pydantic import JsonValue

from service.client.rows import MEDIA_TYPE
from service.edge.body import BINARY
from service.schemas.answers import EmbedAnswer

HEADERS = {
    "x-likeness-rows": "Rows in the body, one per image sent.",
    "x-likeness-dimension": "Numbers in a row.",
    "x-likeness-output": "What the numbers are: `vector` or `features`.",
    "x-likeness-fingerprint": "Of the bundle that decided.",
    "x-likeness-failed": "Which rows are NaN and why, as `index:code,index:code`; absent if none.",
}


def rows_response(answer: EmbedAnswer) -> Response:
    """Return the numbers of an answer as `(n, dimension)` float32, little-endian, in order.

    Row i belongs to image i whatever happens to the others: that of an image which could not
    be used is NaN throughout, so that positions never shift and no one's numbers are taken
    for another's.
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
    """Return what OpenAPI is told of such an answer, beside the JSON."""
    return {
        "description": "JSON; or, if `Accept` prefers application/octet-stream, float32 rows, "
        "little-endian, in the order of the images, described by the headers.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": BINARY}}},
        "headers": {
            name: {"description": words, "schema": {"type": "string"}}
            for name, words in HEADERS.items()
        },
    }
