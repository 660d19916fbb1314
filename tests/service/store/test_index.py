"""The index finds its templates, also while it changes."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event, Thread

import numpy as np
from numpy.typing import NDArray

from models.cohort import Cohort, Vectors
from service.store.sqlite.index import Entry, VectorIndex
from tests.contracts.store.samples import FINGERPRINT, axis, near, vector_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def entry(name: str, subject: str = "ada", expires_at: datetime | None = None) -> Entry:
    return Entry(name, subject, FINGERPRINT, vector_of(name), expires_at)


def best(index: VectorIndex, name: str) -> str:
    return index.search(vector_of(name), FINGERPRINT, 1, NOW)[0].template_id


def test_every_entry_finds_itself_after_growing_and_removing() -> None:
    index, dice = VectorIndex(), random.Random(1)
    held: set[str] = set()
    for turn in range(40):
        new = [f"{turn}-{i}" for i in range(20)]
        gone = dice.sample(sorted(held), min(len(held), dice.randrange(25)))
        index.apply(gone, [entry(name, subject=name) for name in new])
        held = (held - set(gone)) | set(new)
        found = index.search(vector_of("probe"), FINGERPRINT, 10_000, NOW)
        assert {candidate.template_id for candidate in found} == held
        assert all(best(index, name) == name for name in dice.sample(sorted(held), 5))
    assert len(index) == len(held)


def test_entry_given_again_replaces_the_one_before() -> None:
    index = VectorIndex()
    index.apply((), [entry("one")])
    index.apply((), [entry("one", expires_at=NOW - timedelta(seconds=1))])
    assert index.search(vector_of("one"), FINGERPRINT, 5, NOW) == []
    assert len(index) == 1


def test_removing_an_unknown_id_changes_nothing() -> None:
    index = VectorIndex()
    index.apply(["nothing"], [entry("one")])
    assert best(index, "one") == "one"


def test_no_limit_gives_no_candidates() -> None:
    index = VectorIndex()
    index.apply((), [entry("one")])
    assert index.search(vector_of("one"), FINGERPRINT, 0, NOW) == []


class Moment(datetime):
    """Run a callback when a search has computed its product and reads the expiries."""

    events: list[Callable[[], None]]

    def timestamp(self) -> float:
        if self.events:
            self.events.pop(0)()
        return super().timestamp()


def search_while(index: VectorIndex, events: Sequence[Callable[[], None]]) -> dict[str, float]:
    """Search along the first axis while callbacks run; return similarities by id."""
    moment = Moment(2030, 1, 1, tzinfo=UTC)
    moment.events = list(events)
    found = index.search(near(0, 1.0), FINGERPRINT, 1000, moment)
    assert moment.events == []
    return {each.template_id: round(each.similarity, 3) for each in found}


def along(name: str, similarity: float) -> Entry:
    return Entry(name, name, FINGERPRINT, near(0, similarity), None)


def test_template_removed_during_a_search_is_not_found_and_none_takes_its_place() -> None:
    index = VectorIndex()
    index.apply((), [along("a", 0.9), along("b", 0.5), along("c", 0.1)])
    found = search_while(index, [lambda: index.apply(["a"], ())])
    assert found == {"b": 0.5, "c": 0.1}


def test_only_template_replaced_during_a_search_is_found_as_it_is_now() -> None:
    index = VectorIndex()
    index.apply((), [along("a", 0.9)])
    found = search_while(index, [lambda: index.apply(["a"], [along("a", 0.3)])])
    assert found == {"a": 0.3}


def test_template_replaced_during_a_search_is_found_as_it_is_now() -> None:
    index = VectorIndex()
    index.apply((), [along("a", 0.9), along("b", 0.5)])
    found = search_while(index, [lambda: index.apply(["a"], [along("c", 0.3)])])
    assert found == {"b": 0.5, "c": 0.3}


def test_additions_during_a_search_disturb_nothing() -> None:
    index = VectorIndex()
    index.apply((), [along("a", 0.9)])
    many = [along(f"n{i}", 0.5) for i in range(1000)]
    assert search_while(index, [lambda: index.apply((), many)]) == {"a": 0.9}


def test_search_ends_although_templates_are_removed_all_the_time() -> None:
    index = VectorIndex()
    index.apply((), [along(name, 0.5) for name in "abcdef"])
    removals = [partial(index.apply, [name], ()) for name in "abc"]
    assert search_while(index, removals) == {"d": 0.5, "e": 0.5, "f": 0.5}


def test_cohort_that_comes_during_a_search_leaves_it_the_scores_before() -> None:
    index = VectorIndex()
    index.apply((), [along("a", 0.9), along("b", 0.5)])
    assert search_while(index, [partial(index.compare_by, FINGERPRINT, axis(0))]) == {
        "a": 0.9,
        "b": 0.5,
    }
    assert search_while(index, []) == {"a": -0.05, "b": -0.25}


def test_search_done_again_is_by_the_cohort_that_came_meanwhile() -> None:
    index = VectorIndex()
    index.apply((), [along("a", 0.9), along("b", 0.5), along("c", 0.1)])

    def change() -> None:
        index.apply(["a"], ())
        index.compare_by(FINGERPRINT, axis(0))

    assert search_while(index, [change]) == {"b": -0.25, "c": -0.45}


class Changing(Cohort):
    """Run a callback when the cohort means of all rows are computed but not yet set."""

    events: list[Callable[[], None]]

    def means(self, vectors: Vectors) -> NDArray[np.float32]:
        means = super().means(vectors)
        if self.events and len(vectors) > 1:
            self.events.pop(0)()
        return means


def scores_after(index: VectorIndex, events: Sequence[Callable[[], None]]) -> dict[str, float]:
    """Set a cohort while callbacks run; return scores by id."""
    cohort = Changing(near(0, 1.0)[None], 1)
    object.__setattr__(cohort, "events", list(events))
    index.compare_by(FINGERPRINT, cohort)
    assert cohort.events == []
    return search_while(index, [])


def test_templates_added_while_a_cohort_is_set_are_scored_by_it() -> None:
    index = VectorIndex()
    index.apply((), [along("a", 0.9), along("b", 0.5)])
    many = [along(f"n{number}", 0.1) for number in range(500)]
    found = scores_after(index, [lambda: index.apply((), many)])
    assert found == {"a": -0.05, "b": -0.25} | {f"n{n}": -0.45 for n in range(500)}


def test_cohort_comes_although_templates_are_removed_all_the_time() -> None:
    index = VectorIndex()
    index.apply((), [along(name, at / 10) for at, name in enumerate("abcdef")])
    found = scores_after(index, [partial(index.apply, [name], ()) for name in "abc"])
    assert found == {"d": -0.35, "e": -0.3, "f": -0.25}


def test_search_beside_a_writer_finds_no_removed_and_no_torn_row() -> None:
    """Add and remove rows of two kinds; a torn or moved row would have a third similarity."""
    index, stop = VectorIndex(), Event()
    index.apply((), [Entry("stays", "stays", FINGERPRINT, near(0, 0.5), None)])

    def change() -> None:
        for turn in range(600):
            names = [f"{turn}-{i}" for i in range(8)]
            kinds = [near(0, -0.25) if i % 2 else near(0, 0.75) for i in range(8)]
            added = [
                Entry(name, name, FINGERPRINT, kind, None)
                for name, kind in zip(names, kinds, strict=True)
            ]
            index.apply((), added)
            index.apply(names[:: 1 if turn % 2 else -1], ())
        stop.set()

    thread = Thread(target=change)
    thread.start()
    searches = 0
    while not stop.is_set() or searches == 0:
        found = index.search(near(0, 1.0), FINGERPRINT, 20, NOW)
        searches += 1
        assert "stays" in {candidate.subject for candidate in found}
        for candidate in found:
            wanted = 0.5 if candidate.subject == "stays" else (0.75, -0.25)
            assert np.isclose(candidate.similarity, wanted).any()
    thread.join()
    assert [c.subject for c in index.search(near(0, 1.0), FINGERPRINT, 20, NOW)] == ["stays"]
