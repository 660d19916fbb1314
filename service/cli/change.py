"""`likeness reembed`, `switch` and `forget`: move a gallery to another bundle."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from models.datasets.folders import contents_of, read_photo_file
from models.datasets.tables import UNREADABLE, RejectedFile, write_rejected
from service.cli.local import connect, show_store
from service.cli.terminal import (
    Url,
    check_file,
    exit_status,
    fail,
    finish,
    photo_progress,
    print_rejected,
    settings_from,
    show,
)
from service.client.aio import AsyncLikeness
from service.client.errors import NotFound, RejectedPhoto
from service.client.folders import in_tasks
from service.client.requests import RequestParts
from service.schemas.admin import ChangeAnswer, LackingAnswer, LackingTemplate, ReembeddedAnswer
from service.schemas.gallery import DeletedAnswer

if TYPE_CHECKING:
    from service.settings import Settings

PHOTO_NEEDED: Final = "photo_needed"


@dataclass(slots=True)
class ReembedResult:
    """Count the templates by result; the subjects of `missing` have to enrol again."""

    embedded: int = 0
    deleted: int = 0
    missing: list[RejectedFile] = field(default_factory=list)


class Reembedder:
    """Embed the templates that the service lists as lacking, some at a time.

    The service keeps the list, so a run that was stopped continues when it is started again.
    """

    def __init__(self, likeness: AsyncLikeness, at_once: int, photos: Mapping[str, Path]) -> None:
        self._likeness = likeness
        self._at_once = at_once
        self._photos = photos
        self._result = ReembedResult()

    async def run(self, advance: Callable[[], None]) -> ReembedResult:
        """Embed all templates that can be embedded. Raises Refused and TransportError."""
        lacking = self._likeness.each("/change/lacking", LackingAnswer, limit=100)
        async with aclosing(in_tasks(lacking, self._one, self._at_once)) as done:
            async for _ in done:
                advance()
        return self._result

    async def _one(self, template: LackingTemplate) -> None:
        photo = None
        if not template.has_photo:
            path = self._photos.get(template.image_sha256)
            if path is None:
                self._add_missing(
                    template, PHOTO_NEEDED, "Its photo was not kept and is not in the folder."
                )
                return
            try:
                photo = await asyncio.to_thread(read_photo_file, path)
            except OSError as error:
                self._add_missing(
                    template, UNREADABLE, error.strerror or "The file cannot be read."
                )
                return
        try:
            await self._reembed(template, photo)
            self._result.embedded += 1
        except NotFound:
            self._result.deleted += 1  # deleted meanwhile
        except RejectedPhoto as rejected:
            self._add_missing(template, rejected.problem.code, rejected.problem.detail)

    async def _reembed(self, template: LackingTemplate, photo: bytes | None) -> None:
        names = {"subject": template.subject, "template_id": template.template_id}
        parts: RequestParts = (
            {"json": names} if photo is None else {"data": names, "files": [("image", photo)]}
        )
        await self._likeness.ask("POST", "/change/reembed", ReembeddedAnswer, **parts)

    def _add_missing(self, template: LackingTemplate, code: str, sentence: str) -> None:
        name = f"{template.subject}/{template.template_id}"
        self._result.missing.append(RejectedFile(name, code, sentence))


def by_digest(folder: Path) -> dict[str, Path]:
    """Map the SHA-256 of every readable file below a folder to its path."""
    files = {}
    for path in contents_of(folder).files:
        with suppress(OSError):
            files[hashlib.sha256(read_photo_file(path)).hexdigest()] = path
    return files


Bundle = Annotated[str, typer.Option(help="Built-in name, folder, hub id or fingerprint.")]
AcceptMissing = Annotated[
    bool, typer.Option("--accept-missing", help="Go on although some subjects have to enrol again.")
]

# A shorter hexadecimal number could be a name.
_SHORTEST_FINGERPRINT = 8


def reembed(
    to: Bundle,
    photos: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder of the photos that the service did not keep."
        ),
    ] = None,
    url: Url = None,
    missing: Annotated[
        Path, typer.Option(help="CSV for the templates that could not be embedded.")
    ] = Path("missing.csv"),
    at_once: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
) -> None:
    """Embed the photos of the gallery with another bundle, while the service keeps running.

    The service uses the photos that it kept (LIKENESS_STORE_IMAGES). The others are looked up in
    the folder --photos, by the SHA-256 of their bytes. If the command is stopped, run it again:
    it continues. Users notice nothing before `likeness switch`. Templates that cannot be embedded
    are listed in a CSV, and the exit status is then 1.

    A service at a URL must run with LIKENESS_NEXT_BUNDLE set to the same bundle.
    """
    check_file(missing)

    async def work() -> tuple[ReembedResult, ChangeAnswer]:
        async with _changing(url, to, at_once) as (likeness, change, fingerprint):
            if change.other != fingerprint:
                return ReembedResult(), change
            files = {} if photos is None else await asyncio.to_thread(by_digest, photos)
            with photo_progress("embedding", 0, change.lacking) as advance:
                result = await Reembedder(likeness, at_once, files).run(advance)
            return result, await likeness.ask("GET", "/change", ChangeAnswer)

    result, change = finish(work())
    write_rejected(missing, result.missing)
    show(
        f"{result.embedded:,} embedded, {result.deleted:,} deleted meanwhile, "
        f"{change.lacking:,} lacking"
    )
    print_rejected(result.missing, missing)
    if result.missing:
        subjects = {row.path.partition("/")[0] for row in result.missing}
        show(f"{len(subjects):,} subjects have a photo to enrol again")
    exit_status(result.missing)


def switch(to: Bundle, url: Url = None, accept_missing: AcceptMissing = False) -> None:
    """Let another bundle serve, at all replicas at once. The same command switches back."""

    async def ask(at: str) -> None:
        async with _changing(at, to) as (likeness, before, fingerprint):
            form = {"fingerprint": fingerprint, "accept_missing": accept_missing}
            change = await likeness.ask("POST", "/change/switch", ChangeAnswer, json=form)
        _print_shadow(before)
        show(f"{change.serving[:12]}, no longer {change.other[:12]}", title="serving")

    finish(_switch_here(to, accept_missing) if url is None else ask(url))


async def _switch_here(to: str, accept_missing: bool) -> None:
    """Switch in the store of the settings; the bundle that serves need not be installed here."""
    from models.bundle import check_source
    from service.recognition.change import switch_store
    from service.recognition.recogniser import bundle_for
    from service.store import open_store
    from service.store.master_keys import open_vault

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


async def _fingerprint(settings: "Settings", bundle: str | None) -> str:
    from service.pipeline.loading import load_bundle_of

    named = settings.model_copy(update={"bundle": bundle})
    return (await asyncio.to_thread(load_bundle_of, named)).fingerprint


def _built_in(name: str) -> str:
    """Return the name of the built-in bundle whose fingerprint begins like this, or `name` itself.

    A service also knows the fingerprints of the bundles that it has loaded.
    """
    from models.bundle import BUILTIN_FOLDER, BUILTIN_NAMES, read_manifest

    if len(name) < _SHORTEST_FINGERPRINT:
        return name
    for builtin in BUILTIN_NAMES:
        if (read_manifest(BUILTIN_FOLDER / builtin).fingerprint or "").startswith(name):
            return builtin
    return name


def forget(bundle: Bundle, url: Url = None, accept_missing: AcceptMissing = False) -> None:
    """Erase the templates of a bundle that serves no longer. This cannot be undone."""

    async def ask() -> DeletedAnswer:
        async with _changing(url, bundle) as (likeness, _, fingerprint):
            form = {"fingerprint": fingerprint, "accept_missing": accept_missing}
            # Sent twice, it would answer that there was nothing to erase.
            return await likeness.ask(
                "POST", "/change/forget", DeletedAnswer, repeatable=False, json=form
            )

    deleted = finish(ask())
    show(f"{deleted.templates:,} templates erased, {deleted.subjects:,} subjects with them")


def _print_shadow(change: ChangeAnswer) -> None:
    shadow = change.shadow
    if shadow is not None and shadow.disagreement is not None:
        rate = shadow.disagreement
        show(
            f"{rate.value:.2%} of {shadow.compared:,} requests decided differently by "
            f"{change.other[:12]} ({rate.low:.2%} to {rate.high:.2%})",
            title="shadow ",
        )


@asynccontextmanager
async def _changing(
    url: str | None, name: str, at_once: int = 1
) -> AsyncIterator[tuple[AsyncLikeness, ChangeAnswer, str]]:
    """Yield a client of a service with two bundles, its state, and the fingerprint of `name`."""
    from models.bundle import check_source, load_bundle

    settings = settings_from(max_inflight=max(64, at_once))
    if url is None:
        name = _built_in(name)
        check_source(name)
        if settings.next_bundle is None:
            settings = settings.model_copy(update={"next_bundle": name})
    async with connect(url, settings) as likeness:
        change = await likeness.ask("GET", "/change", ChangeAnswer)
        matches = [each for each in (change.serving, change.other) if each.startswith(name)]
        if len(name) >= _SHORTEST_FINGERPRINT and len(matches) == 1:
            fingerprint = matches[0]
        else:
            fingerprint = (
                await asyncio.to_thread(load_bundle, name, weights=settings.weights)
            ).fingerprint
        if fingerprint not in (change.serving, change.other):
            fail(
                f"The service has loaded {change.serving[:12]} and {change.other[:12]}, not "
                f"{fingerprint[:12]}; start it with LIKENESS_NEXT_BUNDLE={name}."
            )
        yield likeness, change, fingerprint
