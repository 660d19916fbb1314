import numpy as np
import pytest

from models.decision import Template
from service.recognition.matcher import outliers

FLOOR = 0.9


def at(*degrees: float, mean: float = 0.0) -> list[Template]:
    """Return templates in a plane; 25 degrees apart are a cosine of 0.906, 26 of 0.899."""
    turns = np.deg2rad(degrees)
    vectors = np.stack([np.cos(turns), np.sin(turns)], 1).astype(np.float32)
    return [Template(vector, "f", mean) for vector in vectors]


def test_photo_must_resemble_one_of_several_templates() -> None:
    assert outliers(at(0), at(90, 5), FLOOR) == set()


@pytest.mark.parametrize(("degrees", "apart"), [(25, set()), (26, {0})])
def test_inconclusive_is_not_inconsistent(degrees: float, apart: set[int]) -> None:
    assert outliers(at(degrees), at(0), FLOOR) == apart


@pytest.mark.parametrize("order", [(0, 20, 40, 90), (0, 40, 20, 90), (0, 90, 40, 20)])
def test_order_of_photos_after_the_first_does_not_matter(order: tuple[int, ...]) -> None:
    apart = outliers(at(*order), at(), FLOOR)
    assert {order[place] for place in apart} == {90}


def test_repeated_request_gets_the_same_result() -> None:
    photos = at(0, 40, 20, 90)
    first = outliers(photos, at(), FLOOR)
    enrolled = [photo for place, photo in enumerate(photos) if place not in first]
    assert outliers(photos, enrolled, FLOOR) == first


def test_faces_that_resemble_all_faces_are_not_one_person() -> None:
    alike = at(0, 10, mean=0.1)
    assert outliers(alike[1:], at(0), FLOOR) == set()
    assert outliers(alike[1:], alike[:1], FLOOR) == {0}
