import pytest

from models.decision import OperatingPoint, Outcome, Rate, rule_at
from models.errors import Uncalibrated, UnknownOperatingPoint


def point(name: str, threshold: float) -> OperatingPoint:
    return OperatingPoint(name, threshold, Rate(0.1, 0.05, 0.2), Rate(0.3, 0.2, 0.4))


LAX, USUAL, STRICT = (point("fmr_1e-2", 0.4), point("fmr_1e-3", 0.5), point("fmr_1e-4", 0.6))
POINTS = (STRICT, LAX, USUAL)


@pytest.mark.parametrize(
    ("similarity", "outcome"),
    [
        (1.0, "match"),
        (0.5, "match"),
        (0.49999, "inconclusive"),
        (0.4, "inconclusive"),
        (0.39999, "no_match"),
        (-1.0, "no_match"),
    ],
)
def test_the_threshold_matches_and_the_band_below_it_is_inconclusive(
    similarity: float, outcome: Outcome
) -> None:
    assert rule_at(POINTS, "fmr_1e-3").decide(similarity).outcome == outcome


@pytest.mark.parametrize(
    ("name", "threshold", "floor"),
    [("fmr_1e-4", 0.6, 0.5), ("fmr_1e-3", 0.5, 0.4), ("fmr_1e-2", 0.4, 0.4)],
)
def test_the_next_laxer_point_is_the_floor(name: str, threshold: float, floor: float) -> None:
    rule = rule_at(POINTS, name)
    assert (rule.threshold, rule.floor) == (threshold, floor)


def test_a_decision_carries_its_evidence() -> None:
    decision = rule_at(POINTS, "fmr_1e-3").decide(0.45)
    assert (decision.similarity, decision.threshold, decision.floor) == (0.45, 0.5, 0.4)
    assert decision.point == USUAL


def test_one_in_a_thousand_is_the_default() -> None:
    assert rule_at(POINTS).point == USUAL


def test_the_strictest_point_is_the_default_where_that_one_is_missing() -> None:
    assert rule_at((LAX, STRICT)).point == STRICT


def test_an_unknown_point_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownOperatingPoint, match=r"fmr_1e-9.*fmr_1e-2, fmr_1e-3, fmr_1e-4"):
        rule_at(POINTS, "fmr_1e-9")


@pytest.mark.parametrize("name", [None, "fmr_1e-3"])
def test_a_bundle_without_points_cannot_decide_by_name(name: str | None) -> None:
    with pytest.raises(Uncalibrated, match="threshold"):
        rule_at((), name)


@pytest.mark.parametrize(("similarity", "outcome"), [(0.7, "match"), (0.69999, "no_match")])
def test_a_threshold_of_the_callers_own_has_no_band(similarity: float, outcome: Outcome) -> None:
    assert rule_at(POINTS, threshold=0.7).decide(similarity).outcome == outcome


def test_a_threshold_of_the_callers_own_has_no_error_rates() -> None:
    assert rule_at(POINTS, threshold=0.5).point is None


def test_a_bundle_without_points_decides_at_the_callers_threshold() -> None:
    assert rule_at((), threshold=0.7).decide(0.8).outcome == "match"
