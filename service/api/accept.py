"""Choose the media type of an answer by the header `Accept` (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import NotAcceptable

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


@dataclass(frozen=True, slots=True)
class _Range:
    """Hold one range of media types, such as `image/*`, and its weight, 0 to 1."""

    name: str
    weight: float

    def precision(self, media: str) -> int | None:
        """Return how exactly the range names a media type, 0 to 2; None if it does not."""
        family = media.partition("/")[0]
        names = ("*/*", f"{family}/*", media)
        return names.index(self.name) if self.name in names else None


def preferred(accept: str, offers: Sequence[str]) -> str:
    """Return the offer that `accept` weighs highest.

    Of equal weights, the one named more exactly wins, then the one offered first; a header
    that says nothing takes that one too. Raises NotAcceptable.
    """
    ranges = _ranges(accept)
    if not ranges:
        return offers[0]
    weighed = [_weigh(ranges, offer) for offer in offers]
    best = max(weighed)
    if best[0] == 0:
        raise NotAcceptable(f"Accept allows none of what is offered: {', '.join(offers)}.")
    return offers[weighed.index(best)]


def _ranges(accept: str) -> list[_Range]:
    """Read a header; ranges that are malformed are as good as not there."""
    found: list[_Range] = []
    for element in accept.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")] or ["1"]
        if "/" in name and _WEIGHT.fullmatch(weights[0]):
            found.append(_Range(name, float(weights[0])))
    return found


def _weigh(ranges: Sequence[_Range], media: str) -> tuple[float, int]:
    """Return the weight that the most exact range gives to a media type, and its precision."""
    matches = [
        (precision, found.weight)
        for found in ranges
        if (precision := found.precision(media)) is not None
    ]
    precision, weight = max(matches, default=(0, 0.0))
    return weight, precision
