import pytest

from models.evaluation.rates import proportion


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
