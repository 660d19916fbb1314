"""`likeness audit`: print the audit log, and check that it was not changed."""

from contextlib import aclosing
from typing import Annotated

import typer

from service.cli.local import connect_store
from service.cli.terminal import Url, fail, finish, settings_from, show
from service.schemas.admin import AuditAnswer

audit_app = typer.Typer(no_args_is_help=True, help="Print and verify the audit log.")


@audit_app.command("list")
def list_(url: Url = None) -> None:
    """Print the log, one entry a line, the oldest first."""

    async def list_all() -> None:
        async with (
            connect_store(url, settings_from()) as likeness,
            aclosing(likeness.each("/audit", AuditAnswer)) as log,
        ):
            async for entry in log:
                show(entry.model_dump_json())

    finish(list_all())


@audit_app.command()
def verify(
    receipt: Annotated[
        list[str] | None,
        typer.Option(help="NUMBER:DIGEST of an entry that must be there; repeat it for more."),
    ] = None,
    url: Url = None,
) -> None:
    """Check that no entry was changed or removed, and print the receipt of the last one.

    A program that can write to the database can cut off the end of the log. Only a receipt that
    is kept elsewhere shows this: the receipt of a deletion, or the one that this command prints.
    """
    expected = dict(_receipt(text) for text in receipt or ())

    async def check() -> tuple[int, str]:
        from service.store.audit import START, AuditEntry, first_break

        last, digest = 0, START
        # An empty log has a receipt too: entry 0.
        if expected.pop(last, digest) != digest:
            fail("Entry 0 of the audit log is not the one of the receipt.")
        async with (
            connect_store(url, settings_from()) as likeness,
            aclosing(likeness.each("/audit", AuditAnswer)) as log,
        ):
            async for entry in log:
                if first_break([AuditEntry(**entry.model_dump())], last + 1, digest) is not None:
                    fail(f"Entry {last + 1} of the audit log was changed or removed.")
                last, digest = entry.number, entry.digest
                if expected.pop(last, digest) != digest:
                    fail(f"Entry {last} of the audit log is not the one of the receipt.")
        return last, digest

    last, digest = finish(check())
    if expected:
        fail(f"The audit log ends with entry {last}, before the entry of the receipt.")
    show(f"{last:,} entries, none was changed; the receipt of the last one:")
    show(f"{last}:{digest}")


def _receipt(text: str) -> tuple[int, str]:
    number, _, digest = text.partition(":")
    if not number.isdecimal() or not digest:
        fail(f"A receipt has the form NUMBER:DIGEST; {text} does not.")
    return int(number), digest
