"""What every command writes to: results to standard output, all else to standard error."""

from typing import NoReturn

import typer
from rich.console import Console

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

EXIT_ERROR = 2


def fail(sentence: str) -> NoReturn:
    """Print why, and exit."""
    err.print(f"[bold red]error[/]  {sentence}", soft_wrap=True)
    raise typer.Exit(EXIT_ERROR)
