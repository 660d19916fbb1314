"""`likeness names`: list and rename subjects with names of an earlier release."""

from contextlib import aclosing
from typing import Annotated
from urllib.parse import quote, unquote

import typer

from service.cli.local import connect_store
from service.cli.terminal import Json, Url, finish, settings_from, show
from service.schemas.gallery import OddNamesAnswer, RenamedAnswer

names_app = typer.Typer(
    no_args_is_help=True, help="List and rename subjects whose names are not valid any more."
)


@names_app.command("list")
def list_(url: Url = None, as_json: Json = False) -> None:
    """Print a subject a line: its name as in URLs, the name it would have now, and the reason."""

    async def list_all() -> int:
        count = 0
        async with (
            connect_store(url, settings_from()) as likeness,
            aclosing(likeness.each("/names", OddNamesAnswer)) as subjects,
        ):
            async for subject in subjects:
                count += 1
                words = [quote(subject.subject, safe=""), subject.name or "-", subject.reason]
                show(subject.model_dump_json() if as_json else "  ".join(words))
        return count

    count = finish(list_all())
    if not as_json:
        show(f"{count:,} to rename" + (": likeness names rename NAME TO" if count else ""))


@names_app.command()
def rename(
    name: Annotated[str, typer.Argument(help="The name as `likeness names list` prints it.")],
    to: Annotated[str, typer.Argument(help="A name that no other subject has.")],
    url: Url = None,
) -> None:
    """Give a subject another name. Its templates, terms and expiry stay."""

    async def ask() -> RenamedAnswer:
        async with connect_store(url, settings_from()) as likeness:
            return await likeness.rename_subject(unquote(name), to)

    show(f"renamed  {finish(ask()).subject}")
