"""Decide which photos become templates, from their measures and similarities alone.

A bad template harms every later decision: a poor photo is seldom recognised, one of somebody
else lets that person in. What is refused here can be accepted request by request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.decision import OperatingPoint, Rule
from models.quality import HARMFUL, Quality, issues
from service.errors import EnrolmentError, Inconsistent, LowQuality

Vectors = NDArray[np.float32]
QualityGate = Literal["off", "warn", "refuse"]

# A search for duplicates may be wrong about one newcomer in so many.
FALSE_ALARMS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Standard:
    """Say what is checked, and what is taken all the same.

    Without a `rule`, of a bundle without operating points, nobody can tell whether photos
    agree, and they all do.
    """

    quality: QualityGate
    rule: Rule | None
    accept_quality: bool = False
    accept_inconsistent: bool = False


@dataclass(frozen=True, slots=True)
class New:
    """Hold what is known of one photo; `vector` is (d,) float32 of unit length.

    `held` says that the subject has a template of it.
    """

    vector: NDArray[np.float32]
    quality: Quality
    held: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold why a photo is refused, or what speaks against it and is accepted."""

    refused: EnrolmentError | None = None
    warnings: tuple[EnrolmentError, ...] = ()


def judge(photos: Sequence[New], held: Vectors, standard: Standard) -> list[Verdict]:
    """Decide on the photos of one request, given the subject's unexpired templates `(m, d)`.

    All vectors are of one bundle. What the subject holds already is beyond doubt: asking
    again changes nothing.
    """
    poor = [None if photo.held else low_quality(photo.quality, standard) for photo in photos]
    refuse_poor = standard.quality == "refuse" and not standard.accept_quality
    left = [at for at, error in enumerate(poor) if error is None or not refuse_poor]
    odd: set[int] = set()
    if left and standard.rule is not None:
        vectors = np.stack([photos[at].vector for at in left])
        odd = {left[at] for at in strangers(vectors, held, standard.rule.floor)}
    return [_verdict(error, refuse_poor, at in odd, standard) for at, error in enumerate(poor)]


def _verdict(
    poor: LowQuality | None, refuse_poor: bool, is_odd: bool, standard: Standard
) -> Verdict:
    if poor is not None and refuse_poor:
        return Verdict(poor)
    warnings: list[EnrolmentError] = [] if poor is None else [poor]
    if is_odd:
        assert standard.rule is not None
        odd = Inconsistent(
            "The photo does not seem to show the person of the subject's other photos: its "
            f"similarity to each of them is below {standard.rule.floor:.3f}."
        )
        if not standard.accept_inconsistent:
            return Verdict(odd)
        warnings.append(odd)
    return Verdict(None, tuple(warnings))


def low_quality(quality: Quality, standard: Standard) -> LowQuality | None:
    """Return what is wrong with a photo that would seldom be recognised, with advice."""
    if standard.quality == "off":
        return None
    found = issues(quality, HARMFUL)
    if not found:
        return None
    reasons = ", ".join(issue.code for issue in found)
    return LowQuality(
        f"The photo is too poor to recognise its person by: {reasons}.",
        " ".join(issue.advice for issue in found),
    )


def strangers(photos: Vectors, held: Vectors, floor: float) -> set[int]:
    """Return the places of photos `(n, d)` whose similarity to all of the subject's is too low.

    The subject's are those held `(m, d)`, or else the first photo, and whatever photo agrees
    with one of them; so the order of the others does not matter, and a repeated request is
    judged as it was the first time.
    """
    apart = np.ones(len(photos), bool)
    fresh = held if len(held) else photos[:1]
    while len(fresh):
        near = apart & (photos @ fresh.T >= floor).any(axis=1)
        apart &= ~near
        fresh = photos[near]
    return set(np.flatnonzero(apart).tolist())


def alarm_point(points: Sequence[OperatingPoint], gallery: int) -> OperatingPoint | None:
    """Return the point from which a resemblance in a gallery of so many templates is told.

    It is the laxest at which FMR times templates stays below FALSE_ALARMS, or the strictest
    there is; None without points.
    """
    ordered = sorted(points, key=lambda point: point.threshold)
    quiet = (point for point in ordered if point.fmr.value * gallery <= FALSE_ALARMS)
    return next(quiet, ordered[-1] if ordered else None)
