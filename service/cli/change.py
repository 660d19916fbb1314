"""`likeness reembed`, `switch` and `forget`: let another bundle take over a gallery."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer

from models.bundle import (
    BUILTIN_FOLDER,
    BUILTIN_NAMES,
    BuiltinName,
    check_source,
    load_bundle,
    read_manifest,
)
from models.datasets.folders import contents_of, read_photo_file
from models.datasets.vectors import UNREADABLE, RejectedFile, write_rejected
from service.cli.local import connect, show_store
from service.cli.places import check_file
from service.cli.terminal import (
    Url,
    exit_status,
    fail,
    finish,
    photo_progress,
    print_rejected,
    settings_from,
    show,
)
from service.client.aio import AsyncLikeness
from service.client.call import Call, parse_as
from service.client.errors import NotFound, RejectedPhoto
from service.client.folders import in_tasks
from service.pipeline.loading import load_bundle_of
from service.recognition.change import switch_store
from service.recognition.recogniser import bundle_for
from service.schemas.admin import ChangeAnswer, LackingAnswer, LackingTemplate, ReembeddedAnswer
from service.schemas.gallery import DeletedAnswer
from service.settings import Settings
from service.store import open_store
from service.store.master_keys import open_vault

PHOTO_NEEDED: Final = "photo_needed"


@dataclass(slots=True)
class Reembedded:
    """Count what became of the templates; who is `missing` has to enrol again."""

    embedded: int = 0
    gone: int = 0
    missing: list[RejectedFile] = field(default_factory=list)


class Reembedding:
    """Work through what the service lists, a few templates at a time.

    What is done already the service knows itself: stopped and started again, this goes on.
    """

    def __init__(self, likeness: AsyncLikeness, at_once: int, photos: Mapping[str, Path]) -> None:
        self._likeness = likeness
        self._at_once = at_once
        self._photos = photos
        self._outcome = Reembedded()

    async def run(self, advance: Callable[[], None]) -> Reembedded:
        """Embed all that can be; raises Refused and TransportError."""
        lacking = self._likeness.each(_lacking)
        async with aclosing(in_tasks(lacking, self._one, self._at_once)) as done:
            async for _ in done:
                advance()
        return self._outcome

    async def _one(self, template: LackingTemplate) -> None:
        photo = None
        if not template.has_photo:
            path = self._photos.get(template.image_sha256)
            if path is None:
                self._miss(template, PHOTO_NEEDED, "Its photo was not kept, nor is it given.")
                return
            try:
                photo = await asyncio.to_thread(read_photo_file, path)
            except OSError as error:
                self._miss(template, UNREADABLE, error.strerror or "The file cannot be read.")
                return
        try:
            await self._likeness.ask(_reembed(template, photo))
            self._outcome.embedded += 1
        except NotFound:
            self._outcome.gone += 1  # deleted meanwhile
        except RejectedPhoto as rejected:
            self._miss(template, rejected.problem.code, rejected.problem.detail)

    def _miss(self, template: LackingTemplate, code: str, sentence: str) -> None:
        name = f"{template.subject}/{template.template_id}"
        self._outcome.missing.append(RejectedFile(name, code, sentence))


def _lacking(after: int | None) -> Call[LackingAnswer]:
    return Call("GET", "/change/lacking", parse_as(LackingAnswer), params={"after": after or 0})


def _reembed(template: LackingTemplate, photo: bytes | None) -> Call[ReembeddedAnswer]:
    names = {"subject": template.subject, "template_id": template.template_id}
    route, read = "/change/reembed", parse_as(ReembeddedAnswer)
    if photo is None:
        return Call("POST", route, read, json=names)
    return Call("POST", route, read, fields=names, photos=[("image", photo)])


def by_digest(folder: Path) -> dict[str, Path]:
    """Return every readable file below a folder by the SHA-256 of its bytes, whatever its name."""
    found = {}
    for path in contents_of(folder).files:
        with suppress(OSError):
            found[hashlib.sha256(read_photo_file(path)).hexdigest()] = path
    return found


Bundle = Annotated[str, typer.Option(help="Built-in name, directory, hub id or fingerprint.")]
AcceptMissing = Annotated[
    bool, typer.Option("--accept-missing", help="Although some subjects have to enrol again.")
]

# Fewer hexadecimal digits could be meant for a name.
_SHORTEST_FINGERPRINT = 8
_CHANGE = Call("GET", "/change", parse_as(ChangeAnswer))


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
    run was. Nothing changes for callers before `likeness switch`. Templates that cannot be made
    are listed, and the exit status is 1 for that reason.

    At a URL the service runs with LIKENESS_NEXT_BUNDLE set to the same bundle.
    """

    check_file(missing)

    async def work() -> tuple[Reembedded, ChangeAnswer]:
        async with _changing(url, to, at_once) as (likeness, change, fingerprint):
            if change.other != fingerprint:
                return Reembedded(), change
            given = {} if photos is None else await asyncio.to_thread(by_digest, photos)
            with photo_progress("embedding", 0, change.lacking) as advance:
                done = await Reembedding(likeness, at_once, given).run(advance)
            return done, await likeness.ask(_CHANGE)

    done, change = finish(work())
    write_rejected(missing, done.missing)
    show(f"{done.embedded:,} embedded, {done.gone:,} deleted meanwhile, {change.lacking:,} lacking")
    print_rejected(done.missing, missing)
    if done.missing:
        people = {row.path.partition("/")[0] for row in done.missing}
        show(f"{len(people):,} subjects have a photo to enrol again")
    exit_status(done.missing)


def switch(to: Bundle, url: Url = None, accept_missing: AcceptMissing = False) -> None:
    """Let a bundle serve, at every replica at once; the same command switches back."""

    async def ask(at: str) -> None:
        async with _changing(at, to) as (likeness, before, fingerprint):
            form = {"fingerprint": fingerprint, "accept_missing": accept_missing}
            switch = Call("POST", "/change/switch", parse_as(ChangeAnswer), json=form)
            change = await likeness.ask(switch)
        _print_shadow(before)
        show(f"{change.serving[:12]}, no longer {change.other[:12]}", title="serving")

    finish(_switch_here(to, accept_missing) if url is None else ask(url))


async def _switch_here(to: str, accept_missing: bool) -> None:
    """Switch in the store of the settings, where the bundle that serves need not be at hand."""
    settings = settings_from()
    to = _built_in(to)
    check_source(to)
    show_store(settings.store)
    wanted = await _fingerprint(settings, to)
    async with AsyncExitStack() as stack:
        vault = await asyncio.to_thread(open_vault, settings)
        store = await open_store(settings.store, vault=vault)
        stack.push_async_callback(store.close)
        serving = await store.switched_to()
        if serving is None:
            serving = await _fingerprint(settings, (await bundle_for(store, settings)).name)
        await switch_store(store, serving, wanted, accept_missing, None)
    no_longer = "" if serving == wanted else f", no longer {serving[:12]}"
    show(f"{wanted[:12]}{no_longer}", title="serving")


async def _fingerprint(settings: Settings, bundle: str | None) -> str:
    named = settings.model_copy(update={"bundle": bundle})
    return (await asyncio.to_thread(load_bundle_of, named)).fingerprint


def _built_in(name: str) -> str:
    """Return the name of the built-in bundle with a fingerprint that begins so, or what is given.

    Elsewhere a fingerprint names one of the bundles that a service has loaded.
    """
    known = (each for each in BUILTIN_NAMES if len(name) >= _SHORTEST_FINGERPRINT)
    return next((each for each in known if _starts_with(each, name)), name)


def _starts_with(name: BuiltinName, fingerprint: str) -> bool:
    return (read_manifest(BUILTIN_FOLDER / name).fingerprint or "").startswith(fingerprint)


def forget(bundle: Bundle, url: Url = None, accept_missing: AcceptMissing = False) -> None:
    """Erase the templates of a bundle that serves no longer; there is no way back after that."""

    async def ask() -> DeletedAnswer:
        async with _changing(url, bundle) as (likeness, _, fingerprint):
            form = {"fingerprint": fingerprint, "accept_missing": accept_missing}
            # Sent twice it would answer that nothing was there to erase.
            return await likeness.ask(
                Call("POST", "/change/forget", parse_as(DeletedAnswer), json=form, repeatable=False)
            )

    deleted = finish(ask())
    show(f"{deleted.templates:,} templates erased, {deleted.subjects:,} subjects with them")


def _print_shadow(change: ChangeAnswer) -> None:
    shadow = change.shadow
    if shadow is not None and shadow.disagreement is not None:
        apart = shadow.disagreement
        show(
            f"{apart.value:.2%} of {shadow.compared:,} requests decided differently by "
            f"{change.other[:12]} ({apart.low:.2%} to {apart.high:.2%})",
            title="shadow ",
        )


@asynccontextmanager
async def _changing(
    url: str | None, name: str, at_once: int = 1
) -> AsyncIterator[tuple[AsyncLikeness, ChangeAnswer, str]]:
    """Reach a service with two bundles; say which they are, and which of them is named."""
    settings = settings_from(max_inflight=max(64, at_once))
    if url is None:
        name = _built_in(name)
        check_source(name)
        if settings.next_bundle is None:
            settings = settings.model_copy(update={"next_bundle": name})
    async with connect(url, settings) as likeness:
        change = await likeness.ask(_CHANGE)
        known = [each for each in (change.serving, change.other) if each.startswith(name)]
        if len(name) >= _SHORTEST_FINGERPRINT and len(known) == 1:
            fingerprint = known[0]
        else:
            fingerprint = (
                await asyncio.to_thread(load_bundle, name, weights=settings.weights)
            ).fingerprint
        if fingerprint not in (change.serving, change.other):
            fail(
                f"The service has {change.serving[:12]} and {change.other[:12]} loaded, not "
                f"{fingerprint[:12]}; start it with LIKENESS_NEXT_BUNDLE={name}."
            )
        yield likeness, change, fingerprint
