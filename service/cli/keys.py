"""`likeness keys`: create, list and revoke API keys, in the store or at a service."""

from enum import StrEnum
from typing import Annotated

import typer

from service.cli.local import connect_store
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
from service.client.requests import path
from service.schemas.admin import KeyAnswer, KeysAnswer, NewKeyAnswer

keys_app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


class ScopeName(StrEnum):
    """Name what a key may do."""

    VERIFY = "verify"
    ENROLL = "enroll"
    EMBED = "embed"
    ADMIN = "admin"


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name for the person or program with the key.")],
    scope: Annotated[
        list[ScopeName], typer.Option(help="What the key may do; repeat it for more.")
    ],
    per_s: Annotated[
        float | None, typer.Option(help="Most requests a second; each photo counts as one.")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(help="Most requests at a time; each photo counts as one.")
    ] = None,
    signing: Annotated[
        bool, typer.Option("--signing", help="Let the key sign requests, as AWS clients do.")
    ] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Create a key and print it. It is never shown again.

    `verify` may verify and identify, `enroll` may enrol, `embed` may embed, and `admin` may do
    everything else: the gallery, keys, a change of bundle. A signing key is also printed as the
    two environment variables that AWS clients read.
    """

    async def ask() -> tuple[NewKeyAnswer, bool]:
        form = {
            "name": name,
            "scopes": list(scope),
            "per_s": per_s,
            "at_once": at_once,
            "signing": signing,
        }
        async with connect_store(url, settings_from()) as likeness:
            existing = (await likeness.ask("GET", "/keys", KeysAnswer)).items
            # Sent twice, it would make two keys, and one of them would never be shown.
            key = await likeness.ask("POST", "/keys", NewKeyAnswer, repeatable=False, json=form)
            return key, not existing

    key, is_first = finish(ask())
    if is_first:
        _note("This is the first key: from now on, requests without a key are refused.")
        if ScopeName.ADMIN not in scope:
            _note(
                "This key cannot administer the service, and there is no other key. Create one "
                "with --scope admin too, on the machine that has the store."
            )
    # A script reads the key from standard output, so it is alone on its line.
    lines = [key.model_dump_json() if as_json else key.key]
    if signing and not as_json:
        lines.append(f"AWS_ACCESS_KEY_ID={key.access_key_id}")
        lines.append(f"AWS_SECRET_ACCESS_KEY={key.secret_access_key}")
    for line in lines:
        show(line)


@keys_app.command("list")
def list_(url: Url = None, as_json: Json = False) -> None:
    """List all keys, the oldest first. The secrets are not shown."""

    async def ask() -> KeysAnswer:
        async with connect_store(url, settings_from()) as likeness:
            return await likeness.ask("GET", "/keys", KeysAnswer)

    keys = finish(ask())
    if as_json:
        show_json(keys.model_dump_json())
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("id", "name", "scopes", "a second", "at a time", "signs", "created", "revoked")
    for key in keys.items:
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
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id, as `likeness keys list` prints it.")],
    url: Url = None,
) -> None:
    """Revoke a key. Every replica refuses it from the next request on."""

    async def ask() -> tuple[KeyAnswer, bool]:
        async with connect_store(url, settings_from()) as likeness:
            valid = [
                key.key_id
                for key in (await likeness.ask("GET", "/keys", KeysAnswer)).items
                if key.revoked_at is None
            ]
            revoked = await likeness.ask("DELETE", path("keys", key_id), KeyAnswer)
            return revoked, valid == [key_id]

    key, was_last = finish(ask())
    show(f"revoked  {key.key_id}  {key.name}")
    if was_last:
        _note(
            "This was the last key: requests are refused until you create another one, on the "
            "machine that has the store. If the store is a file, stop the service first."
        )


def _note(sentence: str) -> None:
    # Not on standard output, where a script reads the key.
    show(sentence, title="note", to=err)
