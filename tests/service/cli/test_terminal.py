import pytest
import typer

from service.cli.terminal import EXIT_ERROR, require


def test_a_library_that_is_there_is_no_problem() -> None:
    require("json")


def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended:
        require("json", "no_such_library")
    assert ended.value.exit_code == EXIT_ERROR
    assert "no_such_library, of the extra `offline`" in capsys.readouterr().err.replace("\n", " ")
