import pytest

from models.decision import OperatingPoint, Rate
from service.errors import ThresholdTooLow
from service.recognition.thresholds import alarm_point, check_floor


def point(name: str, threshold: float, fmr: float) -> OperatingPoint:
    return OperatingPoint(name, threshold, Rate(fmr, fmr, fmr), Rate(0.1, 0.1, 0.1))


POINTS = [point("strict", 0.95, 1e-5), point("lax", 0.90, 1e-3), point("middle", 0.93, 1e-4)]


@pytest.mark.parametrize(
    ("gallery", "name"),
    [(0, "lax"), (10, "lax"), (11, "middle"), (100, "middle"), (1000, "strict"), (10**6, "strict")],
)
def test_larger_gallery_needs_a_stricter_point(gallery: int, name: str) -> None:
    chosen = alarm_point(POINTS, gallery)
    assert chosen is not None
    assert chosen.name == name


def test_too_low_a_threshold_names_every_scope_that_a_lower_one_needs() -> None:
    with pytest.raises(ThresholdTooLow, match="scopes `verify` and `admin`"):
        check_floor("threshold", 0.1, floor=0.2, decimals=4)


def test_without_points_there_is_no_alarm() -> None:
    assert alarm_point([], 10) is None
