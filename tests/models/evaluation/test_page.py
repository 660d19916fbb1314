"""Read the contents of plots from the text of their SVG."""

from xml.etree import ElementTree

import pytest

from models.decision import OperatingPoint, Rate
from models.evaluation.page import draw_det, draw_histogram
from models.evaluation.report import DetCurve, Histogram

POINT = OperatingPoint(
    name="fmr_1e-3",
    threshold=0.6,
    fmr=Rate(0.001, 0.0005, 0.002),
    fnmr=Rate(0.05, 0.03, 0.07),
)
CURVE = DetCurve((1.0, 0.1, 0.001, 0.0), (0.0, 0.01, 0.05, 1.0))
HISTOGRAM = Histogram((0.0, 0.5, 1.0), (0.1, 0.9), (0.8, 0.2))


@pytest.fixture(scope="module")
def det() -> str:
    return draw_det(CURVE, [POINT])


@pytest.fixture(scope="module")
def histogram() -> str:
    return draw_histogram(HISTOGRAM, [POINT])


@pytest.mark.parametrize("plot", ["det", "histogram"])
def test_a_plot_is_sound_svg(plot: str, request: pytest.FixtureRequest) -> None:
    root = ElementTree.fromstring(request.getfixturevalue(plot))
    assert root.tag.endswith("svg")


def test_operating_points_are_named_on_the_det_curve(det: str) -> None:
    assert "FMR 1e-3" in det


def test_both_axes_of_the_det_curve_are_explained(det: str) -> None:
    assert "strangers taken for one person" in det
    assert "one person taken for strangers" in det


def test_a_point_without_errors_has_no_place_on_logarithmic_axes() -> None:
    never = OperatingPoint(
        name="fmr_1e-3", threshold=0.9, fmr=Rate(0.0, 0.0, 0.01), fnmr=Rate(0.5, 0.4, 0.6)
    )
    assert "FMR 1e-3" not in draw_det(CURVE, [never])


def test_both_kinds_of_comparison_are_in_the_legend(histogram: str) -> None:
    assert "one person" in histogram
    assert "two people" in histogram
