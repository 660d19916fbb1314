import math
from dataclasses import replace

import numpy as np
import pytest

from models.decision import (
    ConditionRates,
    OperatingPoint,
    Outcome,
    Rate,
    Template,
    rule_at,
    similarities,
    similarity,
)
from models.errors import DegenerateVector, FingerprintMismatch, Uncalibrated, UnknownOperatingPoint


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


@pytest.mark.parametrize("similarity", [math.nan, math.inf, -math.inf])
def test_a_similarity_that_is_no_number_is_never_a_decision(similarity: float) -> None:
    with pytest.raises(DegenerateVector):
        rule_at(POINTS).decide(similarity)


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


def refusing(point: OperatingPoint, fnmr: float, extrapolated: bool = False) -> OperatingPoint:
    return replace(point, fnmr=Rate(fnmr, fnmr, fnmr), extrapolated=extrapolated)


def test_the_strictest_point_that_refuses_few_is_the_default() -> None:
    points = (refusing(LAX, 0.001), refusing(USUAL, 0.01), refusing(STRICT, 0.05))
    assert rule_at(points).point == points[2]
    stricter = refusing(point("fmr_1e-5", 0.7), 0.051)
    assert rule_at((*points, stricter)).point == points[2]


def test_an_extrapolated_point_is_not_the_default() -> None:
    points = (refusing(USUAL, 0.01), refusing(STRICT, 0.02, extrapolated=True))
    assert rule_at(points).point == points[0]


def test_where_all_points_refuse_many_one_in_a_thousand_is_the_default() -> None:
    assert rule_at(POINTS).point == USUAL
    assert rule_at((refusing(LAX, 0.01), USUAL, STRICT)).point == USUAL


def test_where_no_point_is_as_strict_the_strictest_is_the_default() -> None:
    assert rule_at((LAX, point("fmr_1e-1", 0.1))).point == LAX


def test_a_condition_is_outside_the_evidence_where_strangers_match_far_more_often() -> None:
    rows = [
        ConditionRates("none", "fmr_1e-3", 1000, Rate(0.0005, 0, 0.001)),
        ConditionRates("blurred", "fmr_1e-3", 1000, Rate(0.0021, 0.002, 0.003)),
        ConditionRates("masked", "fmr_1e-3", 1000, Rate(0.0019, 0.001, 0.003)),
        ConditionRates("dark", "fmr_1e-4", 1000, Rate(0.5, 0.4, 0.6)),
    ]
    rule = rule_at(POINTS, "fmr_1e-3", conditions=rows)
    assert rule.outside == {"blurred"}
    assert rule.decide(0.9, {"masked", "dark"}).outcome == "match"
    doubtful = rule.decide(0.9, {"masked", "blurred"})
    assert (doubtful.outcome, doubtful.doubts) == ("inconclusive", ("blurred",))
    assert rule.decide(0.1, {"blurred"}).outcome == "no_match"


def test_what_the_same_photos_show_without_it_is_not_due_to_a_condition() -> None:
    rows = [
        ConditionRates("none", "fmr_1e-3", 1000, Rate(0.01, 0, 0.02)),
        ConditionRates("blurred", "fmr_1e-3", 1000, Rate(0.009, 0, 0.02)),
    ]
    assert rule_at(POINTS, "fmr_1e-3", conditions=rows).outside == frozenset()


def test_a_threshold_of_ones_own_has_no_evidence_to_be_outside_of() -> None:
    rows = [ConditionRates("blurred", "fmr_1e-3", 1000, Rate(0.5, 0.4, 0.6))]
    decision = rule_at(POINTS, threshold=0.5, conditions=rows).decide(0.9, {"blurred"})
    assert (decision.outcome, decision.doubts) == ("match", ())


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


# The similarity of templates


def template(x: float, y: float, fingerprint: str = "a" * 64) -> Template:
    return Template(np.array([x, y], np.float32), fingerprint)


@pytest.mark.parametrize(
    ("other", "cosine"),
    [(template(1, 0), 1.0), (template(0.6, 0.8), 0.6), (template(0, 1), 0), (template(-1, 0), -1)],
)
def test_similarity_is_the_cosine(other: Template, cosine: float) -> None:
    assert similarity(template(1, 0), other) == pytest.approx(cosine)


def test_what_both_have_in_common_with_everybody_is_subtracted() -> None:
    probe, reference = template(1, 0), template(0.6, 0.8)
    normalised = similarity(replace(probe, mean=0.3), replace(reference, mean=0.1))
    assert normalised == pytest.approx(0.6 - 0.2)


def test_fused_templates_are_brought_back_to_the_spread_of_single_ones() -> None:
    probe, reference = template(1, 0), template(0.6, 0.8)
    probe = replace(probe, coherence=0.81, strangers_mean=-0.2)
    fused = similarity(probe, replace(reference, mean=0.2, strangers_mean=-0.2))
    assert fused == pytest.approx(-0.2 + 0.81**0.2 * (0.6 - 0.1 + 0.2))


def test_without_the_mean_of_strangers_fused_templates_score_as_they_are() -> None:
    fused = similarity(replace(template(1, 0), coherence=0.81), template(0.6, 0.8))
    assert fused == pytest.approx(0.6)


def test_all_similarities_at_once_are_those_of_pairs() -> None:
    sides = [
        Template(vector, "f", mean, coherence, strangers_mean=-0.1)
        for vector, mean, coherence in (
            (np.array([1, 0], np.float32), 0.2, 1.0),
            (np.array([0.6, 0.8], np.float32), 0.1, 0.7),
            (np.array([0, 1], np.float32), 0.4, 0.9),
        )
    ]
    expected = [[similarity(a, b) for b in sides] for a in sides]
    np.testing.assert_allclose(similarities(sides, sides), expected, atol=1e-6)


def test_rounding_never_leads_past_one() -> None:
    long = template(1.0000001, 0)
    assert similarity(long, long) == 1.0


def test_templates_of_different_bundles_are_never_compared() -> None:
    with pytest.raises(FingerprintMismatch, match=r"bbbbbbbbbbbb.*aaaaaaaaaaaa.*enrol"):
        similarity(template(1, 0), template(1, 0, "b" * 64))
