import numpy as np
import pytest
from numpy.typing import NDArray

from models.calibration import (
    Comparisons,
    all_pairs,
    equal_error_rate,
    fmr_at,
    fnmr_at,
    held_out_fmr,
    operating_points,
    pair_accuracy,
    threshold_at,
)
from models.comparisons import cosines, halves, pair_places


def scores(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


GENUINE, IMPOSTOR = scores(0.9, 0.8, 0.7, 0.4), scores(0.5, 0.3, 0.2, 0.1)


# Rates, by hand


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
    assert threshold_at(IMPOSTOR, 1.0) == -1


def test_equal_impostors_are_refused_together() -> None:
    assert fmr_at(scores(0.3, 0.3, 0.3, 0.1), threshold_at(scores(0.3, 0.3, 0.3, 0.1), 0.5)) == 0


def test_as_many_impostors_pass_as_the_rate_allows() -> None:
    impostor = np.linspace(0, 1, 100, dtype=np.float32)
    rates = [fmr_at(impostor, threshold_at(impostor, percent / 100)) for percent in range(100)]
    np.testing.assert_allclose(rates, np.arange(100) / 100)


# All pairs


def test_huge_sets_are_compared_in_part() -> None:
    people = np.arange(1000) // 2
    a, b = pair_places(people, most=5000)
    same = people[a] == people[b]
    assert np.all(a < b)
    assert same.sum() == 500
    assert 4000 < (~same).sum() <= 4500


def test_huge_people_do_not_crowd_out_strangers() -> None:
    people = np.arange(1000) // 500
    a, b = pair_places(people, most=5000)
    assert 0.4 < np.mean(people[a] == people[b]) < 0.7


def test_drawn_pairs_are_the_same_every_time() -> None:
    people = np.arange(1000) // 2
    np.testing.assert_array_equal(pair_places(people, most=500), pair_places(people, most=500))


def test_cosines_do_not_depend_on_blocks_or_order() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(20, 4)).astype(np.float32)
    a, b = random.integers(0, 20, (2, 50))
    expected = np.sum(vectors[a] * vectors[b], 1)
    np.testing.assert_allclose(cosines(vectors, a, b, rows=7), expected, rtol=1e-5)


def test_every_photo_is_compared_with_every_other() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    every = all_pairs(vectors, np.array([0, 0, 1]), np.ones(3, bool))
    np.testing.assert_allclose(every.genuine, [0.6])
    np.testing.assert_allclose(every.impostor, [0, 0.8])


@pytest.fixture
def partly_enrolled() -> Comparisons:
    """Compare two photos of person 0 with two of person 1, of whom one was not enrolled."""
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.float32)
    return all_pairs(vectors, np.array([0, 0, 1, 1]), np.array([True, True, True, False]))


def test_whoever_is_not_enrolled_is_not_recognised(partly_enrolled: Comparisons) -> None:
    assert sorted(partly_enrolled.genuine.tolist()) == [-1, 1]
    assert fnmr_at(partly_enrolled.genuine, 0.5) == 1 / 2


def test_a_photo_that_is_not_enrolled_is_no_impostor(partly_enrolled: Comparisons) -> None:
    assert partly_enrolled.impostor.tolist() == [0, 0]


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
    """Compare one person with as many others, whose scores rise evenly, and with herself."""
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


def test_halves_of_the_people_share_nobody(comparisons: Comparisons) -> None:
    people = [{*side.first.tolist(), *side.second.tolist()} for side in halves(comparisons)]
    assert not people[0] & people[1]
    assert len(people[0] | people[1]) == 50


def test_halves_too_small_to_set_a_threshold_check_nothing(comparisons: Comparisons) -> None:
    assert operating_points(comparisons, (3e-2,))[0].held_out_fmr is not None
    assert held_out_fmr(comparisons, 5e-4) is None


def test_intervals_contain_what_was_measured(comparisons: Comparisons) -> None:
    for p in operating_points(comparisons, TARGETS):
        for rate in (p.fmr, p.fnmr):
            assert 0 <= rate.low < rate.value < rate.high <= 1


def test_intervals_are_the_same_every_time(comparisons: Comparisons) -> None:
    assert operating_points(comparisons) == operating_points(comparisons)


def test_intervals_are_wider_where_errors_come_from_few_people() -> None:
    # The same 30 errors in 300 genuine pairs: of one person each, or all of three people.
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
