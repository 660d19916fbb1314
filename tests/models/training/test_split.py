import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import LikenessError
from models.training.split import Shares, Split, split_people

PEOPLE = np.repeat(np.arange(40), 10)
NAMES = [f"person {at}" for at in range(40)]


def split(
    people: NDArray[np.int64] = PEOPLE,
    usable: NDArray[np.bool_] | None = None,
    names: list[str] = NAMES,
    seed: int = 0,
) -> Split:
    usable = np.ones(len(people), bool) if usable is None else usable
    return split_people(people, usable, names, Shares(), seed)


def people_in(places: NDArray[np.int64]) -> set[int]:
    return set(PEOPLE[places].tolist())


def test_nobody_is_in_two_parts() -> None:
    parts = split()
    train, validation, test = (
        people_in(part) for part in (parts.train, parts.validation, parts.test)
    )
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_every_photo_is_in_one_part() -> None:
    parts = split()
    places = np.concatenate([parts.train, parts.held_out, parts.validation, parts.test])
    assert sorted(places) == list(range(len(PEOPLE)))


def test_photos_held_out_are_of_people_who_train() -> None:
    parts = split()
    assert people_in(parts.held_out) == people_in(parts.train)
    assert len(parts.held_out) == len(people_in(parts.train))  # one photo of ten each


def test_the_same_seed_gives_the_same_split() -> None:
    np.testing.assert_array_equal(split().test, split().test)


def test_another_seed_gives_another_split() -> None:
    assert people_in(split(seed=1).test) != people_in(split().test)


def test_a_set_that_grows_keeps_most_of_its_split() -> None:
    grown = np.repeat(np.arange(44), 10)
    names = [*NAMES, *(f"newcomer {at}" for at in range(4))]
    before, after = split(), split(grown, names=names)
    kept = set(PEOPLE[before.test].tolist()) & set(grown[after.test].tolist())
    assert len(kept) >= 4  # of six


def test_who_has_one_photo_trains() -> None:
    people = np.concatenate([PEOPLE, [40, 41]])
    parts = split(people, names=[*NAMES, "alone", "alone too"])
    assert {400, 401} <= set(parts.train.tolist())


def test_unusable_photos_of_test_people_are_tested_as_failures_to_enrol() -> None:
    parts = split()
    usable = np.ones(len(PEOPLE), bool)
    usable[parts.test[0]] = False
    assert parts.test[0] in split(usable=usable).test


@pytest.mark.parametrize("part", ["train", "held_out", "validation"])
def test_other_unusable_photos_are_left_out(part: str) -> None:
    usable = np.ones(len(PEOPLE), bool)
    usable[::7] = False
    assert usable[getattr(split(usable=usable), part)].all()


def test_too_few_people_are_refused_with_the_number_needed() -> None:
    with pytest.raises(LikenessError, match=r"8 people .* 9 are needed"):
        split(np.repeat(np.arange(8), 10), names=NAMES[:8])
