"""Read the float32 rows that `/embed` answers with on request into an array."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEDIA_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class FloatRows:
    """Hold `(n, dimension)` float32; row i belongs to image i.

    `failed` maps the index of an image that could not be used to the code of its problem; the
    row of that image is NaN.
    """

    rows: "NDArray[np.float32]"
    failed: Mapping[int, str]
    output: str
    fingerprint: str


def read_rows(response: httpx.Response) -> FloatRows:
    """Read an answer of rows. Raises ValueError and KeyError if it is something else."""
    import numpy as np

    headers = response.headers
    shape = int(headers["x-likeness-rows"]), int(headers["x-likeness-dimension"])
    failed = (item.split(":") for item in headers.get("x-likeness-failed", "").split(",") if item)
    return FloatRows(
        np.frombuffer(response.content, "<f4").reshape(shape).astype(np.float32, copy=False),
        {int(index): code for index, code in failed},
        headers["x-likeness-output"],
        headers["x-likeness-fingerprint"],
    )
