import numpy as np
import pytest

from models.bundle import BUILTIN_FOLDER, BUILTIN_NAMES, read_manifest
from models.evaluation.comparisons import NOT_ENROLLED, Comparisons
from models.evaluation.rates import fmr_at, fnmr_at, rate_curve


@pytest.fixture(scope="module")
def comparisons() -> Comparisons:
    random = np.random.default_rng(0)
    same = np.arange(4000) < 400
    scores = np.where(same, random.normal(0.8, 0.05, 4000), random.normal(0.5, 0.1, 4000))
    scores[0] = NOT_ENROLLED  # a photo that could not be enrolled
    first = np.arange(4000)
    return Comparisons(scores.astype(np.float32), first, np.where(same, first, -1))


def test_every_point_is_measured_at_its_threshold(comparisons: Comparisons) -> None:
    curve = rate_curve(comparisons)
    for threshold, fmr, fnmr in zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True):
        assert fmr == pytest.approx(fmr_at(comparisons.impostor, threshold), abs=1e-8)
        assert fnmr == pytest.approx(fnmr_at(comparisons.genuine, threshold), abs=1e-6)


def test_the_curve_spans_from_many_false_matches_to_none(comparisons: Comparisons) -> None:
    curve = rate_curve(comparisons)
    assert curve.fmr[0] == pytest.approx(0.1, abs=0.01)
    assert curve.fmr[-1] == 0
    assert curve.fnmr[-1] > 0.95


def test_a_curve_is_there_although_nobody_could_be_enrolled(comparisons: Comparisons) -> None:
    scores = np.where(comparisons.same, NOT_ENROLLED, comparisons.scores).astype(np.float32)
    curve = rate_curve(Comparisons(scores, comparisons.first, comparisons.second))
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
