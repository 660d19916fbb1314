"""A decision in a sentence that a person can act on."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from models.decision import ConditionName, Decision

_WORDS: Final[Mapping[ConditionName, str]] = MappingProxyType(
    {
        "blurred": "blurred",
        "masked": "of a face behind a mask or a hand",
        "dark_glasses": "of a face behind dark glasses",
        "small": "of a small face",
        "dark": "dark",
        "compressed": "strongly compressed",
    }
)


def explain(decision: Decision, templates: int, photos: int = 1) -> str:
    """Say in a sentence why the decision fell as it did.

    The subject has so many templates, and the probe so many photos.
    """
    score = f"The similarity {decision.similarity:.3f}"
    point = decision.point
    if point is None:
        place = "reaches" if decision.outcome == "match" else "is below"
        return f"{score} {place} the threshold {decision.threshold:.3f} that you chose."
    # No rate is known to more than two digits.
    one_in = float(f"{1 / max(point.fmr.value, 1e-9):.2g}")
    many = _many(templates, photos)
    if decision.doubts:
        wrong = " and ".join(_WORDS[each] for each in decision.doubts)
        return (
            f"{score} reaches {decision.threshold:.3f}, but both photos are {wrong}: of strangers "
            f"in such photos far more reach it than one in {one_in:,.0f}. Take another photo.{many}"
        )
    match decision.outcome:
        case "match":
            return (
                f"{score} reaches {decision.threshold:.3f}; of {one_in:,.0f} comparisons of "
                f"strangers one does.{many}"
            )
        case "no_match":
            laxer = decision.laxer or point
            return (
                f"{score} is below {decision.floor:.3f}; of comparisons of one person, "
                f"{laxer.fnmr.value:.1%} are.{many}"
            )
        case "inconclusive":
            return (
                f"{score} is between {decision.floor:.3f} and {decision.threshold:.3f}: too like "
                f"for strangers, too unlike to vouch for. Take another photo.{many}"
            )


def _many(templates: int, photos: int) -> str:
    if templates == photos == 1:
        return ""
    sides = [
        f"{count} {name}"
        for count, name in ((photos, "photos"), (templates, "templates"))
        if count > 1
    ]
    return f" By {' and '.join(sides)} together."
