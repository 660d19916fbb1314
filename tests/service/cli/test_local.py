"""What runs in the process of a command promises what a service promises."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.app import app as commands
from service.store.sql.store import SqlStore

SUBJECT = "ada-lovelace"
# A provider for the whole process, as `opentelemetry-instrument` sets one.
TRACED = f"""
import asyncio, httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from service.app import create_app
from service.cli.local import store_in_process
from service.settings import Settings

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
settings = Settings(store="sqlite:///:memory:")

async def ask(transport):
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await client.get("/subjects/{SUBJECT}")

async def main():
    async with store_in_process(settings) as transport:
        await ask(transport)
    await ask(httpx.ASGITransport(create_app(settings)))

asyncio.run(main())
"""


def test_the_framework_writes_no_spans_of_ours() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRACED], capture_output=True, text=True, check=True
    )
    assert SUBJECT not in done.stdout


def test_an_unexpected_error_of_a_store_command_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(store: SqlStore) -> None:
        raise RuntimeError("The disk says no.")

    monkeypatch.setenv("LIKENESS_STORE", f"sqlite:///{tmp_path}/likeness.db")
    monkeypatch.setattr(SqlStore, "keys", fail)
    failed = CliRunner().invoke(commands, ["keys", "list"])
    assert (failed.exit_code, "error" in failed.stderr) == (2, True)
    assert "The disk says no." not in failed.stdout
