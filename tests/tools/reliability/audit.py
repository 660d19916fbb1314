"""Read and verify the audit log as a user who keeps receipts."""

from collections.abc import Iterable, Iterator

import httpx
from typer.testing import CliRunner

from service.cli.app import app
from service.schemas.admin import AuditAnswer, EntryAnswer


def verified(client: httpx.Client, receipts: Iterable[str]) -> str:
    """Verify the log of a service with `likeness audit verify`; return the last receipt."""
    shown = [f"--receipt={receipt}" for receipt in receipts]
    command = ["audit", "verify", f"--url={client.base_url}", *shown]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, (result.output, shown)
    return result.stdout.split()[-1]


def log_entries(client: httpx.Client) -> Iterator[EntryAnswer]:
    """Yield the entries of the audit log, oldest first."""
    after: int | None = 0
    while after is not None:
        response = client.get("/audit", params={"after": after, "limit": 1000})
        page = AuditAnswer.model_validate(response.raise_for_status().json())
        yield from page.items
        after = page.next
