"""`likeness keys`: create, list and revoke API keys, in the store or at a service."""

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from service.call import Call, of, path
from service.key_answers import KeyAnswer, KeysAnswer, NewKeyAnswer
from service.local import connect
from service.terminal import Json, Url, finish, out, settings_from, show, show_json, visible

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

    async def ask() -> NewKeyAnswer:
        form = {
            "name": name,
            "scopes": list(scope),
            "per_s": per_s,
            "at_once": at_once,
            "signing": signing,
        }
        # Sent twice it would make two keys, one of which nobody has seen.
        call = Call("POST", "/keys", of(NewKeyAnswer), json=form, repeatable=False)
        async with connect(url, settings_from()) as likeness:
            return await likeness.ask(call)

    made = finish(ask())
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
            return await likeness.ask(Call("GET", "/keys", of(KeysAnswer)))

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

    async def ask() -> KeyAnswer:
        async with connect(url, settings_from()) as likeness:
            return await likeness.ask(Call("DELETE", path("keys", key_id), of(KeyAnswer)))

    key = finish(ask())
    show(f"revoked  {key.key_id}  {key.name}")
