"""A little of what `make reliability` tries at length."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.reliability.faults import of_clock, of_models
from tests.tools.reliability.forked import Nursery
from tests.tools.reliability.journal import Violations
from tests.tools.reliability.small import small_service
from tests.tools.reliability.soak import drift
from tests.tools.reliability.storm import Storm, postgres_storm, sqlite_storm


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Nursery:
    return small_service(tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize(("storm", "kills"), [(sqlite_storm, 4), (postgres_storm, 6)])
def test_what_was_acknowledged_survives_kill_9_in_a_storm(
    nursery: Nursery, storm: Callable[[Nursery, int], Storm], kills: int
) -> None:
    survived = storm(nursery, kills)
    assert (survived.wrong, survived.audits) == (Violations(), kills + 1)


def test_each_fault_gets_its_problem_and_honest_probes_and_is_recovered_from(
    nursery: Nursery,
) -> None:
    assert [row for row in of_models(nursery) if not row.ok] == []


def test_a_clock_that_jumps_changes_expiry_alone(nursery: Nursery, tmp_path: Path) -> None:
    over = nursery.set(store=f"sqlite:///{tmp_path}/likeness.db")
    assert of_clock("SQLite", over).ok


def test_one_odd_value_is_no_drift() -> None:
    assert drift([5, 5, 5, 50, 5, 5, 5]) == 0
    assert drift([1, 2, 3, 4, 5]) == 4
