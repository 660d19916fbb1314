"""Decide which photos become templates, from their measures and similarities alone.

A bad template harms every later decision: a poor photo is seldom recognised, one of somebody
else lets that person in. What is refused here can be accepted request by request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.decision import ConditionName, OperatingPoint, Template, similarities
from models.photo.quality import HARMFUL, Issue, Quality, issues
from models.photo.quality_head import condition_issues
from service.errors import EnrolmentError, Inconsistent, LowQuality
from service.settings import QualityGate

# A search for duplicates may be wrong about one newcomer in so many.
FALSE_ALARMS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Standard:
    """Say what is checked, and what is taken all the same.

    Photos agree from a similarity of `floor` on. A bundle without operating points has none: there
    nobody can tell, and all photos agree.
    """

    quality: QualityGate
    floor: float | None
    accept_quality: bool = False
    accept_inconsistent: bool = False


@dataclass(frozen=True, slots=True)
class New:
    """Hold what is known of one photo; `held` says that the subject has a template of it."""

    template: Template
    quality: Quality
    held: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold why a photo is refused, or what speaks against it and is accepted."""

    refused: EnrolmentError | None = None
    warnings: tuple[EnrolmentError, ...] = ()


def judge(photos: Sequence[New], held: Sequence[Template], standard: Standard) -> list[Verdict]:
    """Decide on the photos of one request, given the subject's unexpired templates.

    All are of one bundle. What the subject holds already is beyond doubt: asking
    again changes nothing.
    """
    poor = [
        None if photo.held else low_quality(photo.quality, photo.template, standard)
        for photo in photos
    ]
    refuse_poor = standard.quality == "refuse" and not standard.accept_quality
    left = [at for at, error in enumerate(poor) if error is None or not refuse_poor]
    odd: set[int] = set()
    if left and standard.floor is not None:
        templates = [photos[at].template for at in left]
        odd = {left[at] for at in strangers(templates, held, standard.floor)}
    return [_verdict(error, refuse_poor, at in odd, standard) for at, error in enumerate(poor)]


def _verdict(
    poor: LowQuality | None, refuse_poor: bool, is_odd: bool, standard: Standard
) -> Verdict:
    if poor is not None and refuse_poor:
        return Verdict(poor)
    warnings: list[EnrolmentError] = [] if poor is None else [poor]
    if is_odd:
        assert standard.floor is not None
        odd = Inconsistent(
            "The photo does not seem to show the person of the subject's other photos: its "
            f"similarity to each of them is below {standard.floor:.3f}."
        )
        if not standard.accept_inconsistent:
            return Verdict(odd)
        warnings.append(odd)
    return Verdict(None, tuple(warnings))


# What hides a face. Other conditions do harm where they make a photo poor on the whole.
_REFUSED: Final[frozenset[ConditionName]] = frozenset({"masked", "dark_glasses", "blurred"})


def harm(quality: Quality, template: Template) -> tuple[Issue, ...]:
    """Return why a photo would make a bad template: by its measures, and by what was learned.

    What is seen in both ways is told once.
    """
    measured = issues(quality, HARMFUL)
    if template.quality is None:
        return measured
    # What was learned tells better than landmarks how far a face is turned away.
    found = [issue for issue in measured if issue.code != "turned_away"]
    found += condition_issues(template.conditions & _REFUSED)
    if not found and template.is_poor:
        found.append(
            Issue(
                "hard_to_recognise",
                "Face the camera, in even light, without blur, mask or sunglasses.",
            )
        )
    return tuple({issue.code: issue for issue in found}.values())


def low_quality(quality: Quality, template: Template, standard: Standard) -> LowQuality | None:
    """Return what is wrong with a photo that would seldom be recognised, with advice."""
    if standard.quality == "off":
        return None
    found = harm(quality, template)
    if not found:
        return None
    reasons = ", ".join(issue.code for issue in found)
    return LowQuality(
        f"The photo is too poor to recognise its person by: {reasons}.",
        " ".join(issue.advice for issue in found),
    )


def strangers(photos: Sequence[Template], held: Sequence[Template], floor: float) -> set[int]:
    """Return the places of photos whose similarity to all of the subject's is below `floor`.

    The subject's are those held, or else the first photo, and whatever photo agrees
    with one of them; so the order of the others does not matter, and a repeated request is
    judged as it was the first time.
    """
    apart = set(range(len(photos)))
    fresh = list(held or photos[:1])
    while fresh and apart:
        places = sorted(apart)
        scores = similarities([photos[at] for at in places], fresh)
        near = {places[row] for row in np.flatnonzero((scores >= floor).any(axis=1))}
        apart -= near
        fresh = [photos[at] for at in near]
    return apart


def agreement_floor(points: Sequence[OperatingPoint]) -> float | None:
    """Return the similarity below which two photos do not seem to show one person.

    The threshold of the laxest point: photos of one person seldom fall below it, and those of
    strangers nearly always do. None without points.
    """
    return min((point.threshold for point in points), default=None)


def alarm_point(points: Sequence[OperatingPoint], gallery: int) -> OperatingPoint | None:
    """Return the point from which a resemblance in a gallery of so many templates is told.

    It is the laxest at which FMR times templates stays below FALSE_ALARMS, or the strictest
    there is; None without points.
    """
    ordered = sorted(points, key=lambda point: point.threshold)
    quiet = (point for point in ordered if point.fmr.value * gallery <= FALSE_ALARMS)
    return next(quiet, ordered[-1] if ordered else None)
