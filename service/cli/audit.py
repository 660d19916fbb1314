"""`likeness audit`: show the log of what changed, and tell whether it is as it was written."""

from contextlib import aclosing
from typing import Annotated

import typer

from service.cli.local import connect
from service.cli.terminal import Url, fail, finish, settings_from, show
from service.client.call import Call, parse_as
from service.schemas.admin import AuditAnswer
from service.store.audit import START, AuditEntry, first_break

audit_app = typer.Typer(no_args_is_help=True, help="Show and verify the audit log.")


@audit_app.command("list")
def list_(url: Url = None) -> None:
    """Print the log, an entry a line, oldest first."""

    async def list_all() -> None:
        async with connect(url, settings_from()) as likeness, aclosing(likeness.each(_page)) as log:
            async for entry in log:
                show(entry.model_dump_json())

    finish(list_all())


@audit_app.command()
def verify(
    receipt: Annotated[
        list[str] | None,
        typer.Option(help="NUMBER:DIGEST that was handed out and has to be there; repeatable."),
    ] = None,
    url: Url = None,
) -> None:
    """Tell whether every entry is there and as it was written; print the last one's receipt.

    Whoever can write to the database can cut off the log's end. A receipt that is kept
    elsewhere shows that too: of a deletion, or the one that is printed here.
    """
    expected = dict(_receipt(text) for text in receipt or ())

    async def check() -> tuple[int, str]:
        last, digest = 0, START
        # What is printed of an empty log is a receipt too.
        if expected.pop(last, digest) != digest:
            fail("Entry 0 of the audit log is not the one of the receipt.")
        async with connect(url, settings_from()) as likeness, aclosing(likeness.each(_page)) as log:
            async for entry in log:
                if first_break([AuditEntry(**entry.model_dump())], last + 1, digest) is not None:
                    fail(f"Entry {last + 1} of the audit log was changed or removed.")
                last, digest = entry.number, entry.digest
                if expected.pop(last, digest) != digest:
                    fail(f"Entry {last} of the audit log is not the one of the receipt.")
        return last, digest

    last, digest = finish(check())
    if expected:
        fail(f"The audit log ends with entry {last}, before that of the receipt.")
    show(f"{last:,} entries, all as written; the last one's receipt:")
    show(f"{last}:{digest}")


def _page(after: int | None) -> Call[AuditAnswer]:
    return Call("GET", "/audit", parse_as(AuditAnswer), params={"after": after or 0, "limit": 1000})


def _receipt(text: str) -> tuple[int, str]:
    number, _, digest = text.partition(":")
    if not number.isdecimal() or not digest:
        fail(f"A receipt is NUMBER:DIGEST, not {text}.")
    return int(number), digest
