import pytest

from models.errors import ImageError
from models.photo.image import decode
from tests.hostile import Case, corpus

CASES = list(corpus())


def answer(case: Case) -> str:
    """Return the code of the problem, `no_face` where the file decodes."""
    try:
        decode(case.data)
    except ImageError as error:
        return error.code
    return "no_face"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_hostile_file_gets_its_answer(case: Case) -> None:
    assert answer(case) in case.codes


def test_there_are_hundreds_of_hostile_files_of_distinct_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 400


def test_the_same_hostile_files_are_built_every_time() -> None:
    assert list(corpus()) == CASES


def test_hostile_files_allow_only_answers_of_the_contract() -> None:
    known = {
        "not_an_image",
        "undecodable_image",
        "too_many_pixels",
        "image_too_large",
        "body_too_large",
        "no_face",
    }
    assert frozenset().union(*(case.codes for case in CASES)) == known
