"""`likeness reembed`, `switch` and `forget`: let another bundle take over a gallery."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer

from models.bundle import load_bundle
from models.rejected import write_rejected
from service.change_answers import ChangeAnswer
from service.gallery_answers import DeletedAnswer
from service.local import answer, connect
from service.reembedding import Reembedded, Reembedding, by_digest
from service.terminal import Url, fail, finish, out, photo_progress, print_rejected, settings_from

Bundle = Annotated[str, typer.Option(help="Built-in name, directory, hub id or fingerprint.")]
AcceptMissing = Annotated[
    bool, typer.Option("--accept-missing", help="Although some subjects have to enrol again.")
]


def reembed(
    to: Bundle,
    photos: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Photos that the service did not keep."),
    ] = None,
    url: Url = None,
    missing: Annotated[
        Path, typer.Option(help="CSV for the templates that could not be made.")
    ] = Path("missing.csv"),
    at_once: Annotated[int, typer.Option(min=1, help="Requests under way at a time.")] = 8,
) -> None:
    """Embed the gallery's photos by another bundle, while the one that serves goes on serving.

    Photos that the service kept (LIKENESS_STORE_IMAGES) are taken from there, others from a
    folder, found by the digest of their bytes. The same command again goes on where a stopped
    run was. Nothing changes for callers before `likeness switch`.

    At a URL the service runs with LIKENESS_NEXT_BUNDLE set to the same bundle.
    """

    async def work() -> tuple[Reembedded, ChangeAnswer]:
        async with _changing(url, to, at_once) as (client, change, fingerprint):
            if change.other != fingerprint:
                return Reembedded(), change
            given = {} if photos is None else await asyncio.to_thread(by_digest, photos)
            with photo_progress("embedding", 0, change.lacking) as advance:
                done = await Reembedding(client, at_once, given).run(advance)
            return done, answer(await client.get("/change"), ChangeAnswer)

    done, change = finish(work())
    write_rejected(missing, done.missing)
    out.print(
        f"{done.embedded:,} embedded, {done.gone:,} deleted meanwhile, {change.lacking:,} lacking"
    )
    print_rejected(done.missing, missing)
    if done.missing:
        people = {row.path.partition("/")[0] for row in done.missing}
        out.print(f"{len(people):,} subjects have a photo to enrol again")


def switch(to: Bundle, url: Url = None, accept_missing: AcceptMissing = False) -> None:
    """Let a bundle serve, at every replica at once; the same command switches back."""

    async def ask() -> ChangeAnswer:
        async with _changing(url, to) as (client, _, fingerprint):
            form = {"fingerprint": fingerprint, "accept_missing": accept_missing}
            return answer(await client.post("/change/switch", json=form), ChangeAnswer)

    change = finish(ask())
    out.print(f"[bold]serving[/]  {change.serving[:12]}, no longer {change.other[:12]}")


def forget(bundle: Bundle, url: Url = None, accept_missing: AcceptMissing = False) -> None:
    """Erase the templates of a bundle that serves no longer; there is no way back after that."""

    async def ask() -> DeletedAnswer:
        async with _changing(url, bundle) as (client, _, fingerprint):
            form = {"fingerprint": fingerprint, "accept_missing": accept_missing}
            return answer(await client.post("/change/forget", json=form), DeletedAnswer)

    deleted = finish(ask())
    out.print(f"{deleted.templates:,} templates erased, {deleted.subjects:,} subjects with them")


@asynccontextmanager
async def _changing(
    url: str | None, name: str, at_once: int = 1
) -> AsyncIterator[tuple[httpx.AsyncClient, ChangeAnswer, str]]:
    """Reach a service with two bundles; say which they are, and which of them is named."""
    settings = settings_from(max_inflight=max(64, at_once))
    if url is None and settings.next_bundle is None:
        settings = settings.model_copy(update={"next_bundle": name})
    async with connect(url, settings) as client:
        change = answer(await client.get("/change"), ChangeAnswer)
        known = [each for each in (change.serving, change.other) if each.startswith(name)]
        if len(name) >= 8 and len(known) == 1:
            fingerprint = known[0]
        else:
            fingerprint = (await asyncio.to_thread(load_bundle, name)).fingerprint
        if fingerprint not in (change.serving, change.other):
            fail(
                f"The service has {change.serving[:12]} and {change.other[:12]} loaded, not "
                f"{fingerprint[:12]}; start it with LIKENESS_NEXT_BUNDLE={name}."
            )
        yield client, change, fingerprint
