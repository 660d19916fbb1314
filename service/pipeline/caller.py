"""What one request may still take of the service: pixels to decode, and time to begin with."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import Self

from models.photo.image import PixelBudget
from service.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Hold the pixels that a request may have decoded, and until when a photo may be begun with.

    `deadline` is in the loop's time. The encoder's queue serves callers in turn.
    """

    pixels: PixelBudget = field(default_factory=PixelBudget)
    deadline: float = math.inf

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the caller of a request that has been read and is begun with now."""
        now = asyncio.get_running_loop().time()
        return cls(PixelBudget(settings.max_request_pixels), now + settings.request_timeout_s)
