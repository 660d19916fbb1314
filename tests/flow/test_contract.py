"""A few of the requests that `make reliability` makes from the OpenAPI document."""

from pathlib import Path

import pytest

from tests.tools.reliability.contract import try_all


# Some 1,700 requests one after the other, on a machine that may do much else.
@pytest.mark.timeout(1200)
def test_every_answer_is_the_documented_one(tmp_path: Path) -> None:
    row = try_all(tmp_path, 3, 0, {}, with_keys=True)
    assert row.ok, row
