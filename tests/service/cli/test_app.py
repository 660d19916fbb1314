"""The options of `likeness` itself, and mistakes in its commands."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service import __version__
from service.cli.app import EXIT_ERROR, app


def likeness(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_version_is_that_of_the_distribution() -> None:
    assert likeness("--version").stdout == f"likeness {__version__}\n"


def test_serve_does_not_listen_beyond_the_loopback_without_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{tmp_path / 'likeness.db'}")
    result = likeness("serve", "--host", "0.0.0.0")
    assert (result.exit_code, "--without-keys" in result.stderr) == (EXIT_ERROR, True)
