"""Bare rows of numbers, as `/embed` answers with if asked to, back into an array."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import numpy as np
from numpy.typing import NDArray

MEDIA_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class FloatRows:
    """Hold `(n, dimension)` float32, row i of image i; those in `failed` are NaN throughout.

    `failed` has the code of the problem by the place of the image.
    """

    rows: NDArray[np.float32]
    failed: Mapping[int, str]
    output: str
    fingerprint: str


def read_rows(response: httpx.Response) -> FloatRows:
    """Read such an answer; raises ValueError and KeyError if it is none."""
    headers = response.headers
    shape = int(headers["x-likeness-rows"]), int(headers["x-likeness-dimension"])
    failed = (one.split(":") for one in headers.get("x-likeness-failed", "").split(",") if one)
    return FloatRows(
        np.frombuffer(response.content, "<f4").reshape(shape).astype(np.float32, copy=False),
        {int(place): code for place, code in failed},
        headers["x-likeness-output"],
        headers["x-likeness-fingerprint"],
    )
