"""The start and the end of every command: settings, results on standard output, errors as lines."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from json import dumps
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar
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

from models.errors import LikenessError
from service.client.errors import Refused

if TYPE_CHECKING:
    from models.datasets.tables import RejectedFile
    from service.settings import Settings

R = TypeVar("R")

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

# 1 and 3 are also decisions of `verify`.
EXIT_SOME_FAILED, EXIT_ERROR = 1, 2
SHOWN = 10

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str | None,
    typer.Option(help="URL of a running service to use, instead of opening one here."),
]
File = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="File of a photo.")
]
BundleName = Annotated[
    str | None,
    typer.Option(help="Built-in name, folder or hub id. Default: the bundle that is served."),
]
Outside = Annotated[
    bool, typer.Option("--outside", help="Let a CSV name photos outside its folder.")
]

# Characters that move the cursor, change the direction of a line, or are not assigned.
_UNPRINTED = frozenset(("Cc", "Cs", "Co", "Cn", "Zl", "Zp"))
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def show(text: str, *, title: str = "", style: str = "", to: Console = out) -> None:
    """Print one line of any text; nothing in it is read as markup or as terminal codes."""
    line = Text(f"{title}  " if title else "", style="bold")
    to.print(line.append(visible(text), style=style or "not bold"), soft_wrap=True)


def show_json(text: str) -> None:
    """Print JSON over several lines, with all terminal codes escaped."""
    out.print_json(text, ensure_ascii=True)


def visible(text: str) -> str:
    """Return text with unprintable characters escaped as in JSON, such as `\\u001b`."""
    return "".join(each if is_printed(each) else dumps(each)[1:-1] for each in text)


def is_printed(character: str) -> bool:
    """Tell whether a terminal prints a character where it stands in the text."""
    return category(character) not in _UNPRINTED and character not in _DIRECTIONS


def fail(sentence: str) -> NoReturn:
    """Print an error and exit."""
    _print_error(sentence)
    raise typer.Exit(EXIT_ERROR)


def _print_error(sentence: str) -> None:
    for line in sentence.splitlines():
        shown = Text("error  ", style="bold red").append(visible(line), "not bold default")
        err.print(shown, soft_wrap=True)


class Commands(TyperGroup):
    """Run the commands, and print the errors of users and services as lines."""

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
            _print_error(_sentence(error))
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
    """Exit with an error that names the libraries of an extra that are not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        fail(
            f"This command needs {', '.join(missing)}, of the extra `{extra}`. In the folder of "
            f"the source, run `make install` or .venv/bin/pip install -e '.[{extra}]'"
        )


def settings_from(**overrides: object) -> "Settings":
    """Read the settings. Raises InvalidSettings."""
    from service.settings import load_settings

    return load_settings(**overrides)


def finish(work: Coroutine[None, None, R], photos: Mapping[str, Path] | None = None) -> R:
    """Run a coroutine to its end and return the result.

    `photos` gives the file of each field of the request, so that an error can name the file.
    """
    files_by_field = photos or {}
    try:
        return asyncio.run(work)
    except Refused as refused:
        fields = [name for name in refused.problem.photos if name in files_by_field]
        if not fields:
            raise
        fail("".join(f"{files_by_field[name]}: " for name in fields) + _sentence(refused))


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yield a function that takes how many items are done, of how many."""
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task(escape(visible(title)), total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


@contextmanager
def photo_progress(title: str, done: int, of: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar with rate and time left; yield a function to call after each photo."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} photos/s"),
        TimeRemainingColumn(),
    )
    started, first = perf_counter(), done
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(title, total=of, completed=done, rate="-")

        def advance() -> None:
            nonlocal done
            done += 1
            rate = (done - first) / max(perf_counter() - started, 1e-9)
            progress.update(task, completed=done, rate=f"{rate:.0f}")

        yield advance


def print_rejected(rows: "Sequence[RejectedFile]", listed_in: Path | None = None) -> None:
    """Print the first files that could not be used, and where all of them are listed."""
    if not rows:
        return
    for row in rows[:SHOWN]:
        show(f"not used  {row.path}  {row.code}: {row.sentence}", to=err)
    where = "" if listed_in is None else f", all of them in {listed_in}"
    show(f"{len(rows):,} not used{where}", to=err)


def exit_status(unusable: Sequence[object]) -> None:
    """Exit with EXIT_SOME_FAILED if something could not be used."""
    if unusable:
        raise typer.Exit(EXIT_SOME_FAILED)


def print_left_out(unusable: "Sequence[RejectedFile]", notes: Sequence[str]) -> None:
    """Print which files of a folder or list could not be used, and which were left out."""
    for note in notes:
        show(note, to=err)
    print_rejected(unusable)


def check_folder(folder: Path) -> None:
    """Exit unless this is a folder that can be written to, or can be made."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        fail(f"{folder} cannot be written: {nearest} is not a folder that can be written to.")


def check_file(file: Path) -> None:
    """Exit unless a file can be written here; it may replace an earlier one."""
    if file.is_dir():
        fail(f"{file} is a folder, not a file that can be written.")
    check_folder(file.parent)


def check_new(folder: Path) -> None:
    """Exit unless a new folder can be made here."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        fail(f"{folder} exists already: name a new folder with --out, or remove it first.")
    check_folder(folder)


def check_bundle_named(write: bool, bundle: str | None) -> None:
    """Exit if a bundle is to be changed, but none is named."""
    if write and bundle is None:
        fail("Name the bundle to change with --bundle, or a folder for a copy with --out.")


def check_target(write: bool, out_folder: Path | None, bundle: str | None) -> None:
    """Exit unless either the bundle itself or a new folder is named for the result."""
    check_bundle_named(write, bundle)
    if write == (out_folder is not None):
        fail("Name a folder for a copy of the bundle with --out, or change it with --write.")
    if out_folder is not None:
        check_new(out_folder)
