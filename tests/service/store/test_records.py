"""An invalid template cannot be made."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from models.errors import DegenerateVector
from service.errors import InvalidRequest
from tests.contracts.store.samples import template


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1.0, 1e30])
def test_degenerate_vector_is_never_stored(value: float) -> None:
    with pytest.raises(DegenerateVector):
        template("one", vector=np.full(8, value, np.float32))


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2030, 1, 1),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-3))),
    ],
)
def test_expiry_that_is_no_moment_is_refused_by_name(moment: datetime) -> None:
    with pytest.raises(InvalidRequest) as caught:
        template("one", expires_at=moment)
    assert [error.field for error in caught.value.errors] == ["expires_at"]


def test_expiry_at_the_end_of_the_calendar_is_a_moment() -> None:
    moment = datetime.max.replace(tzinfo=UTC)
    assert template("one", expires_at=moment).expires_at == moment
