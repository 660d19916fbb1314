"""`likeness keys`: create, list and revoke API keys, in the store or at a service."""

from enum import StrEnum
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from service.cli.local import connect
from service.cli.terminal import (
    Json,
    Url,
    err,
    finish,
    out,
    settings_from,
    show,
    show_json,
    visible,
)
from service.client.call import Call, parse_as, path
from service.schemas.admin import KeyAnswer, KeysAnswer, NewKeyAnswer

_KEYS: Final = Call("GET", "/keys", parse_as(KeysAnswer))

keys_app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


class ScopeName(StrEnum):
    """Name what a key is good for."""

    VERIFY = "verify"
    ENROLL = "enroll"
    EMBED = "embed"
    ADMIN = "admin"


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[list[ScopeName], typer.Option(help="What it is good for; repeatable.")],
    per_s: Annotated[
        float | None, typer.Option(help="Most requests a second; a photo counts as one.")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(help="Most requests at a time; a photo counts as one.")
    ] = None,
    signing: Annotated[
        bool, typer.Option("--signing", help="It can sign requests as AWS' clients do.")
    ] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, the only time it is shown.

    `verify` verifies and identifies, `enroll` enrols, `embed` embeds, `admin` does everything
    else: the gallery, keys, a change of bundle. A key for signing is printed as AWS' clients
    take it too, from the environment.
    """

    async def ask() -> tuple[NewKeyAnswer, bool]:
        form = {
            "name": name,
            "scopes": list(scope),
            "per_s": per_s,
            "at_once": at_once,
            "signing": signing,
        }
        # Sent twice it would make two keys, one of which nobody has seen.
        call = Call("POST", "/keys", parse_as(NewKeyAnswer), json=form, repeatable=False)
        async with connect(url, settings_from()) as likeness:
            there_were = (await likeness.ask(_KEYS)).items
            return await likeness.ask(call), not there_were

    made, is_first = finish(ask())
    if is_first:
        _note("This is the first key: from now on requests without a key are refused.")
        if ScopeName.ADMIN not in scope:
            _note(
                "It may not administer, and no other key may: make one with --scope admin, too, "
                "where the store is."
            )
    # Alone on its line, so that a script can take it.
    lines = [made.model_dump_json() if as_json else made.key]
    if signing and not as_json:
        lines.append(f"AWS_ACCESS_KEY_ID={made.access_key_id}")
        lines.append(f"AWS_SECRET_ACCESS_KEY={made.secret_access_key}")
    for line in lines:
        show(line)


@keys_app.command("list")
def list_(url: Url = None, as_json: Json = False) -> None:
    """Show all keys, oldest first; never the keys themselves."""

    async def ask() -> KeysAnswer:
        async with connect(url, settings_from()) as likeness:
            return await likeness.ask(_KEYS)

    found = finish(ask())
    if as_json:
        show_json(found.model_dump_json())
        return
    table = Table("id", "name", "scopes", "a second", "at a time", "signs", "created", "revoked")
    for key in found.items:
        table.add_row(
            visible(key.key_id),
            escape(visible(key.name)),
            " ".join(key.scopes),
            "" if key.per_s is None else f"{key.per_s:g}",
            "" if key.at_once is None else str(key.at_once),
            "yes" if key.signing else "",
            f"{key.created_at:%Y-%m-%d}",
            "" if key.revoked_at is None else f"{key.revoked_at:%Y-%m-%d %H:%M}",
        )
    out.print(table)


@keys_app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As listed.")], url: Url = None) -> None:
    """Let a key count no longer, at every replica, from the next request on."""

    async def ask() -> tuple[KeyAnswer, bool]:
        async with connect(url, settings_from()) as likeness:
            counting = [
                key.key_id for key in (await likeness.ask(_KEYS)).items if key.revoked_at is None
            ]
            revoked = await likeness.ask(Call("DELETE", path("keys", key_id), parse_as(KeyAnswer)))
            return revoked, counting == [key_id]

    key, was_last = finish(ask())
    show(f"revoked  {key.key_id}  {key.name}")
    if was_last:
        _note(
            "This was the last key: requests are refused until another is made where the store "
            "is, with the service stopped if the store is a file."
        )


def _note(sentence: str) -> None:
    # Not on stdout, where a script takes the key from.
    show(sentence, title="note", to=err)
