from collections.abc import Iterator

import pytest

from models.errors import LikenessError, NoFace, OutOfMemory
from service import errors
from service.errors import STATUS, KeyForbidden, QueueFull, SubjectNotFound, retry_after_s, status


def every(kind: type[LikenessError] = LikenessError) -> Iterator[type[LikenessError]]:
    for child in kind.__subclasses__():
        yield child
        yield from every(child)


CODED = [kind for kind in every() if "code" in vars(kind)]


@pytest.mark.parametrize("kind", CODED, ids=lambda kind: kind.__name__)
def test_every_code_has_a_status(kind: type[LikenessError]) -> None:
    assert 400 <= STATUS[kind.code] < 600


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in CODED}) == len(CODED)


def test_table_has_only_codes_of_errors() -> None:
    assert set(STATUS) == {kind.code for kind in CODED} | {LikenessError.code}


def test_every_error_that_is_raised_has_a_code_of_its_own() -> None:
    leaves = [kind for kind in every() if not kind.__subclasses__()]
    assert [kind.__name__ for kind in leaves if "code" not in vars(kind)] == []


def test_tree_in_the_docstring_names_every_error() -> None:
    here = [kind.__name__ for kind in every() if kind.__module__ == errors.__name__]
    assert [name for name in here if name not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize("kind", CODED, ids=lambda kind: kind.__name__)
def test_waiting_is_advised_exactly_where_it_helps(kind: type[LikenessError]) -> None:
    error = kind.__new__(kind)
    assert (retry_after_s(error) is not None) == (status(error) in (429, 503, 504))


def test_numbers_out_of_memory_may_be_tried_again() -> None:
    assert retry_after_s(OutOfMemory("x")) == 5


def test_a_key_without_a_scope_is_advised_to_get_that_scope() -> None:
    error = KeyForbidden("verify")
    assert error.sentence == "The key lacks the scope `verify`."
    assert error.advice is not None
    assert "a key with the scope `verify`" in error.advice
    assert "--scope verify`" in error.advice


def test_status_of_examples() -> None:
    assert [status(e("x")) for e in (NoFace, QueueFull, SubjectNotFound)] == [422, 429, 404]
