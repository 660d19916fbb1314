"""How every command begins and ends: settings, results to standard output, all else to error."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, NoReturn, TypeVar
from unicodedata import category

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
from rich.text import Text
from typer.core import TyperGroup

from models.datasets.vectors import RejectedFile
from models.errors import LikenessError
from service.client.errors import Refused
from service.settings import Settings, load_settings

R = TypeVar("R")

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

# 1 and 3 are decisions of `verify` as well.
EXIT_SOME_FAILED, EXIT_ERROR = 1, 2
SHOWN = 10

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[str | None, typer.Option(help="Ask the service at this URL, not this process.")]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
Outside = Annotated[
    bool, typer.Option("--outside", help="Let a CSV name photos outside its folder.")
]

# What moves the cursor or turns the direction of a line, and what is no character at all.
_UNPRINTED = frozenset(("Cc", "Cs", "Co", "Cn", "Zl", "Zp"))
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def show(text: str, *, title: str = "", style: str = "", to: Console = out) -> None:
    """Print one line, whatever is in it: no part of it is markup or moves the terminal."""
    line = Text(f"{title}  " if title else "", style="bold")
    to.print(line.append(visible(text), style=style or "not bold"), soft_wrap=True)


def show_json(text: str) -> None:
    """Print JSON over some lines; what a terminal would obey is escaped, as JSON has it."""
    out.print_json(text, ensure_ascii=True)


def visible(text: str) -> str:
    """Return text with what a terminal does not print escaped as in JSON, `\\u001b` for one."""
    return "".join(each if is_printed(each) else dumps(each)[1:-1] for each in text)


def is_printed(character: str) -> bool:
    """Tell whether a terminal prints a character, and in its place."""
    return category(character) not in _UNPRINTED and character not in _DIRECTIONS


def fail(sentence: str) -> NoReturn:
    """Print why, and exit."""
    _complain(sentence)
    raise typer.Exit(EXIT_ERROR)


def _complain(sentence: str) -> None:
    for line in sentence.splitlines():
        shown = Text("error  ", style="bold red").append(visible(line), "not bold default")
        err.print(shown, soft_wrap=True)


class Commands(TyperGroup):
    """Run commands so that what a user does wrong is a line, whichever command it is."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            return super().main(
                args, prog_name, complete_var, standalone_mode, windows_expand_args, **extra
            )
        except (LikenessError, Refused, httpx.TransportError, OSError) as error:
            _complain(_sentence(error))
            sys.exit(EXIT_ERROR)


def _sentence(error: Exception) -> str:
    match error:
        case Refused():
            return " ".join(filter(None, (error.problem.detail, error.problem.advice)))
        case LikenessError():
            return " ".join(filter(None, (error.sentence, error.advice)))
        case OSError():
            return f"{error.filename or 'The disk'}: {error.strerror or error}."
        case _:
            return f"The service does not answer: {error}"


def require(*modules: str, extra: str = "offline") -> None:
    """Say in a line which libraries of an extra a command lacks, and exit."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        fail(
            f"This needs {', '.join(missing)}, of the extra `{extra}`: run `make install` in the "
            f"folder of the source, or there .venv/bin/pip install -e '.[{extra}]'"
        )


def settings_from(**overrides: object) -> Settings:
    """Read the settings; raises InvalidSettings."""
    return load_settings(**overrides)


def finish(work: Coroutine[None, None, R], photos: Mapping[str, Path] | None = None) -> R:
    """Run to the end; errors are lines by `Commands`.

    The line begins with the file at fault if `photos` names those that the request's fields are.
    """
    known = photos or {}
    try:
        return asyncio.run(work)
    except Refused as refused:
        files = [f"{known[name]}: " for name in refused.problem.photos if name in known]
        if not files:
            raise
        fail("".join(files) + _sentence(refused))


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; call what is given with how many of how many are done."""
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task(escape(visible(what)), total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


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


def print_rejected(rows: Sequence[RejectedFile], listed_in: Path | None = None) -> None:
    """Print the first files that could not be used, and where all of them are listed."""
    if not rows:
        return
    for row in rows[:SHOWN]:
        show(f"not used  {row.path}  {row.code}: {row.sentence}", to=err)
    where = "" if listed_in is None else f", all of them in {listed_in}"
    show(f"{len(rows):,} not used{where}", to=err)


def exit_status(unusable: Sequence[object]) -> None:
    """End with the status that says that something could not be used, if anything could not."""
    if unusable:
        raise typer.Exit(EXIT_SOME_FAILED)


def print_left_out(unusable: Sequence[RejectedFile], notes: Sequence[str]) -> None:
    """Print what of a folder or list could not be used, and what was passed over."""
    for note in notes:
        show(note, to=err)
    print_rejected(unusable)
