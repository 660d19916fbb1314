"""How every command begins and ends: settings, results to standard output, all else to error."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Annotated, NoReturn, TypeVar

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from models.errors import LikenessError
from models.rejected import RejectedFile
from service.refused import Refused
from service.settings import Settings, load_settings

R = TypeVar("R")

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

EXIT_ERROR = 2
SHOWN = 10

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[str | None, typer.Option(help="Ask the service at this URL, not this process.")]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]


def fail(sentence: str) -> NoReturn:
    """Print why, and exit."""
    err.print(f"[bold red]error[/]  {escape(sentence)}", soft_wrap=True)
    raise typer.Exit(EXIT_ERROR)


def require(*modules: str, extra: str = "offline") -> None:
    """Say in a line which libraries of an extra a command lacks, and exit."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        fail(
            f"This needs {', '.join(missing)}, of the extra `{extra}`: run `make install` in the "
            f"folder of the source, or there .venv/bin/pip install -e '.[{extra}]'"
        )


def settings_from(**overrides: object) -> Settings:
    """Read the settings, or say what is wrong with them and exit."""
    try:
        return load_settings(**overrides)
    except LikenessError as error:
        fail(error.sentence)


def finish(work: Coroutine[None, None, R], photos: Mapping[str, Path] | None = None) -> R:
    """Run to the end; an error of ours or of the connection is one line, not a traceback.

    The line begins with the file at fault if `photos` names those that the request's fields are.
    """
    try:
        return asyncio.run(work)
    except Refused as refused:
        problem = refused.problem
        files = [f"{photos[name]}: " for name in problem.photos if photos and name in photos]
        fail(" ".join(filter(None, ("".join(files) + problem.detail, problem.advice))))
    except LikenessError as error:
        fail(" ".join(filter(None, (error.sentence, error.advice))))
    except httpx.TransportError as error:
        fail(f"The service does not answer: {error}")
    except OSError as error:
        fail(f"{error.filename or 'The disk'}: {error.strerror}.")


@contextmanager
def photo_progress(what: str, done: int, of: int) -> Iterator[Callable[[], None]]:
    """Show a bar with rate and time left; call what is given once per photo."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} photos/s"),
        TimeRemainingColumn(),
    )
    started, first = perf_counter(), done
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=of, completed=done, rate="-")

        def advance() -> None:
            nonlocal done
            done += 1
            rate = (done - first) / max(perf_counter() - started, 1e-9)
            progress.update(task, completed=done, rate=f"{rate:.0f}")

        yield advance


def print_rejected(rows: Sequence[RejectedFile], listed_in: Path) -> None:
    """Print the first files that could not be used, and where all of them are listed."""
    if not rows:
        return
    for row in rows[:SHOWN]:
        err.print(f"not used  {row.path}  {row.code}: {row.sentence}", soft_wrap=True, markup=False)
    err.print(f"{len(rows):,} not used, all of them in {listed_in}", soft_wrap=True, markup=False)
