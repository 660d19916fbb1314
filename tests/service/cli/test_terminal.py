import pytest
import typer

from service.cli.terminal import EXIT_ERROR, require


def test_an_installed_library_is_accepted() -> None:
    require("json")


def test_a_missing_library_is_named_with_its_extra(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as ended:
        require("json", "no_such_library")
    assert ended.value.exit_code == EXIT_ERROR
    assert "no_such_library, of the extra `offline`" in capsys.readouterr().err.replace("\n", " ")
