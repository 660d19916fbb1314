import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import BUILTIN_FOLDER, BUILTIN_NAMES, read_manifest
from models.cohort import LOWEST_SCORE
from models.evaluation.comparisons import NOT_ENROLLED, Comparisons, all_pairs
from models.evaluation.rates import (
    REJECTED_SHARES,
    Bootstrap,
    equal_error_rate,
    fmr_at,
    fnmr_at,
    held_out_fmr,
    operating_points,
    pair_accuracy,
    proportion,
    rate_curve,
    reject_rates,
    threshold_at,
)


def scores(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


GENUINE, IMPOSTOR = scores(0.9, 0.8, 0.7, 0.4), scores(0.5, 0.3, 0.2, 0.1)


# Rates counted by hand


def test_accuracy_is_that_of_the_best_threshold() -> None:
    assert pair_accuracy(GENUINE, IMPOSTOR) == 7 / 8


def test_accuracy_is_one_for_scores_that_separate() -> None:
    assert pair_accuracy(scores(0.9, 0.8), scores(0.1, 0.7)) == 1


def test_accuracy_of_refusing_all_counts() -> None:
    assert pair_accuracy(scores(0.1), scores(0.5, 0.6, 0.7)) == 3 / 4


def test_equal_scores_are_not_told_apart() -> None:
    assert pair_accuracy(scores(0.5, 0.5), scores(0.5, 0.5)) == 1 / 2


def test_the_equal_error_rate_is_where_both_rates_meet() -> None:
    # At 0.5 and a little above, 1 of 4 is wrong on one side and none on the other.
    assert equal_error_rate(GENUINE, IMPOSTOR) == 1 / 8


def test_the_equal_error_rate_of_chance_is_a_half() -> None:
    same = np.linspace(0, 1, 101, dtype=np.float32)
    assert equal_error_rate(same, same) == pytest.approx(0.5, abs=0.01)


def test_fmr_counts_impostors_at_or_above_the_threshold() -> None:
    assert fmr_at(IMPOSTOR, float(IMPOSTOR[1])) == 2 / 4


def test_fnmr_counts_genuine_scores_below_the_threshold() -> None:
    assert fnmr_at(GENUINE, float(GENUINE[2])) == 1 / 4


@pytest.mark.parametrize(("fmr", "above"), [(0.0, 0.5), (0.25, 0.3), (0.5, 0.2), (0.74, 0.2)])
def test_the_threshold_lies_just_above_the_first_impostor_refused(fmr: float, above: float) -> None:
    assert threshold_at(IMPOSTOR, fmr) == pytest.approx(above, abs=1e-6)
    assert threshold_at(IMPOSTOR, fmr) > np.float32(above)


def test_no_threshold_is_needed_where_all_may_pass() -> None:
    assert threshold_at(IMPOSTOR, 1.0) == LOWEST_SCORE


def test_equal_impostors_are_refused_together() -> None:
    assert fmr_at(scores(0.3, 0.3, 0.3, 0.1), threshold_at(scores(0.3, 0.3, 0.3, 0.1), 0.5)) == 0


def test_as_many_impostors_pass_as_the_rate_allows() -> None:
    impostor = np.linspace(0, 1, 100, dtype=np.float32)
    rates = [fmr_at(impostor, threshold_at(impostor, percent / 100)) for percent in range(100)]
    np.testing.assert_allclose(rates, np.arange(100) / 100)


# Operating points


@pytest.fixture(scope="module")
def comparisons() -> Comparisons:
    """Compare 150 photos of 50 people: 150 genuine and 11,025 impostor pairs."""
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(50), 3)
    vectors = random.normal(0, 1, (50, 8))[people] + random.normal(0, 0.8, (150, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return all_pairs(vectors, people, np.ones(150, bool))


TARGETS = (1e-1, 3e-2, 1e-2, 3e-3)


def test_thresholds_rise_as_the_rate_falls(comparisons: Comparisons) -> None:
    thresholds = [p.threshold for p in operating_points(comparisons, TARGETS)]
    assert len(thresholds) == 4
    assert thresholds == sorted(thresholds)


def test_no_point_exceeds_its_rate(comparisons: Comparisons) -> None:
    points = operating_points(comparisons, TARGETS)
    assert all(p.fmr.value <= target for p, target in zip(points, TARGETS, strict=True))


def test_points_are_named_by_their_rate(comparisons: Comparisons) -> None:
    assert [p.name for p in operating_points(comparisons, (1e-1, 1e-2))] == ["fmr_1e-1", "fmr_1e-2"]


def test_points_that_three_false_matches_do_not_support_are_left_out(
    comparisons: Comparisons,
) -> None:
    # 11,025 impostor pairs: 110 false matches are expected at 1e-2, 11 at 1e-3, 1 at 1e-4.
    assert [p.name for p in operating_points(comparisons)] == ["fmr_1e-2", "fmr_1e-3"]


def strangers(pairs: int) -> Comparisons:
    """Compare one person with `pairs` others, at evenly rising scores, and with herself."""
    people = np.arange(pairs + 1)
    values = np.append(np.float32(1), np.linspace(0, 1, pairs, dtype=np.float32))
    return Comparisons(values, people * 0, people)


@pytest.mark.parametrize(("pairs", "offered"), [(299, 0), (300, 1)])
def test_three_expected_false_matches_are_enough(pairs: int, offered: int) -> None:
    assert len(operating_points(strangers(pairs), (1e-2,))) == offered


@pytest.mark.parametrize(("pairs", "extrapolated"), [(2999, True), (3000, False)])
def test_a_point_on_fewer_than_thirty_false_matches_is_extrapolated(
    pairs: int, extrapolated: bool
) -> None:
    (p,) = operating_points(strangers(pairs), (1e-2,))
    assert p.extrapolated == extrapolated


def test_points_are_checked_on_people_they_were_not_set_on(comparisons: Comparisons) -> None:
    (p,) = operating_points(comparisons, (1e-1,))
    assert p.held_out_fmr is not None
    assert p.held_out_fmr != p.fmr.value
    assert p.held_out_fmr == pytest.approx(0.1, abs=0.03)


def test_halves_too_small_to_set_a_threshold_check_nothing(comparisons: Comparisons) -> None:
    assert operating_points(comparisons, (3e-2,))[0].held_out_fmr is not None
    assert held_out_fmr(comparisons, 5e-4) is None


def test_intervals_contain_what_was_measured(comparisons: Comparisons) -> None:
    for p in operating_points(comparisons, TARGETS):
        for rate in (p.fmr, p.fnmr):
            assert 0 <= rate.low < rate.value < rate.high <= 1


def test_intervals_are_the_same_every_time(comparisons: Comparisons) -> None:
    assert operating_points(comparisons) == operating_points(comparisons)


# Intervals from a bootstrap over people


def test_intervals_are_wider_where_errors_come_from_few_people() -> None:
    # 30 errors in 300 genuine pairs: one of each person, or all of three people.
    people = np.repeat(np.arange(30), 10)
    spread = np.where(np.arange(300) % 10 == 0, 0.0, 1.0)
    crowded = np.where(people < 3, 0.0, 1.0)
    widths = []
    for genuine in (spread, crowded):
        impostor = np.linspace(0, 0.5, 300)
        everything = Comparisons(
            np.concatenate([genuine, impostor]).astype(np.float32),
            np.concatenate([people, people]),
            np.concatenate([people, (people + 1) % 30]),
        )
        (p,) = operating_points(everything, (0.1,))
        widths.append(p.fnmr.high - p.fnmr.low)
    assert widths[1] > 3 * widths[0]


def test_no_error_among_few_people_is_no_proof_of_none() -> None:
    people = np.arange(60)
    impostor, genuine = np.linspace(0, 0.5, 60), np.ones(60)
    everything = Comparisons(
        np.concatenate([impostor, genuine]).astype(np.float32),
        np.concatenate([people, people]),
        np.concatenate([(people + 1) % 60, people]),
    )
    (p,) = operating_points(everything, (0.5,))
    assert (p.fnmr.low, p.fnmr.value, p.fnmr.high) == (0, 0, 3 / 60)


def society(random: np.random.Generator, people: int = 60, photos: int = 5) -> Comparisons:
    """Draw genuine scores of people; some people are hard to recognise on all photos."""
    hardship = random.normal(0, 1, people)
    who = np.repeat(np.arange(people), photos)
    genuine = hardship[who] + random.normal(0, 0.3, len(who))
    return Comparisons(genuine.astype(np.float32), who, who)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    truth = float(np.mean(society(random, people=20_000).scores < -1))
    held = 0
    for _ in range(200):
        rate = Bootstrap(society(random), rounds=400).fnmr(-1)
        held += rate.low <= truth <= rate.high
    assert 0.86 <= held / 200 <= 0.99  # 95 % is what they say; 60 people are few


def test_intervals_as_if_photos_were_independent_would_be_too_narrow() -> None:
    """Five photos each of 60 people say little more than one photo each."""
    comparisons = society(np.random.default_rng(2))
    rate = Bootstrap(comparisons).fnmr(-1)
    independent = 2 * 1.96 * np.sqrt(rate.value * (1 - rate.value) / len(comparisons.scores))
    assert rate.high - rate.low > 1.5 * independent


def test_an_impostor_comparison_counts_as_often_as_both_people_are_drawn() -> None:
    comparisons = Comparisons(np.array([0.9, 0.1], np.float32), np.array([0, 2]), np.array([1, 3]))
    rate = Bootstrap(comparisons, rounds=4000).fmr(0.5)
    assert rate.value == 1 / 2
    assert (rate.low, rate.high) == (0, 1)


@pytest.mark.parametrize("threshold", [-2.0, 0.0, 1.0])
def test_the_rate_is_what_was_counted(threshold: float) -> None:
    comparisons = society(np.random.default_rng(3))
    counted = float(np.mean(comparisons.scores < threshold))
    assert Bootstrap(comparisons).fnmr(threshold).value == pytest.approx(counted)


# Wilson's interval of a share


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Newcombe 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
)
def test_interval_is_wilsons(hits: int, trials: int, low: float, high: float) -> None:
    share = proportion(hits, trials)
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
    assert share.value == hits / trials


def test_interval_ends_at_all() -> None:
    assert proportion(5, 5).high == 1.0


# Rate curves


@pytest.fixture(scope="module")
def curve_comparisons() -> Comparisons:
    random = np.random.default_rng(0)
    same = np.arange(4000) < 400
    scores = np.where(same, random.normal(0.8, 0.05, 4000), random.normal(0.5, 0.1, 4000))
    scores[0] = NOT_ENROLLED  # a photo that could not be enrolled
    first = np.arange(4000)
    return Comparisons(scores.astype(np.float32), first, np.where(same, first, -1))


def test_every_point_is_measured_at_its_threshold(curve_comparisons: Comparisons) -> None:
    curve = rate_curve(curve_comparisons)
    for threshold, fmr, fnmr in zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True):
        assert fmr == pytest.approx(fmr_at(curve_comparisons.impostor, threshold), abs=1e-8)
        assert fnmr == pytest.approx(fnmr_at(curve_comparisons.genuine, threshold), abs=1e-6)


def test_the_curve_spans_from_many_false_matches_to_none(curve_comparisons: Comparisons) -> None:
    curve = rate_curve(curve_comparisons)
    assert curve.fmr[0] == pytest.approx(0.1, abs=0.01)
    assert curve.fmr[-1] == 0
    assert curve.fnmr[-1] > 0.95


def test_there_is_a_curve_although_no_person_could_be_enrolled(
    curve_comparisons: Comparisons,
) -> None:
    scores = np.where(curve_comparisons.same, NOT_ENROLLED, curve_comparisons.scores).astype(
        np.float32
    )
    curve = rate_curve(Comparisons(scores, curve_comparisons.first, curve_comparisons.second))
    assert set(curve.fnmr) == {1.0}


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_the_curve_of_a_built_in_bundle_passes_through_its_operating_points(name: str) -> None:
    calibration = read_manifest(BUILTIN_FOLDER / name).calibration
    assert calibration is not None
    assert calibration.curve is not None
    curve = calibration.curve
    for point in calibration.operating_points:
        after = int(np.searchsorted(curve.thresholds, point.threshold))
        assert curve.fmr[after] - 1e-8 <= point.fmr.value <= curve.fmr[after - 1] + 1e-8
        assert curve.fnmr[after - 1] - 1e-6 <= point.fnmr.value <= curve.fnmr[after] + 1e-6


# Errors after rejecting photos, counted by hand


def unrecognised() -> Comparisons:
    """Return 100 people with two photos each; those of the first ten are not recognised."""
    people = np.arange(100)
    scores = np.where(people < 10, 0.1, 0.9).astype(np.float32)
    return Comparisons(scores, people, people, np.stack([2 * people, 2 * people + 1], 1))


def test_perfect_qualities_leave_no_errors() -> None:
    qualities = np.where(np.arange(200) < 20, 0.1, 0.9).astype(np.float32)
    rates = {row.share: row.fnmr for row in reject_rates(unrecognised(), qualities, 0.5)}
    assert rates[0.0] == pytest.approx(0.1)
    assert rates[0.05] == pytest.approx(5 / 95)
    assert rates[0.1] == 0


def test_random_qualities_leave_the_rate_as_it_is() -> None:
    qualities = np.random.default_rng(0).random(200).astype(np.float32)
    rates = [row.fnmr for row in reject_rates(unrecognised(), qualities, 0.5)]
    assert len(rates) == len(REJECTED_SHARES)
    assert all(0.05 < rate < 0.15 for rate in rates)
