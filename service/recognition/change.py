"""A change of bundle: embed anew, switch, and forget what the old bundle made.

Both bundles are loaded; one serves. Every enrolment goes through both, so what the other one
lacks only ever becomes less.
"""

import asyncio
import hashlib

from models.errors import naming
from service.errors import ChangeIncomplete, NoChange, OtherPhoto, PhotoNeeded
from service.pipeline.caller import Caller
from service.recognition.enroll import measures_of
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.recognition.shadow import Tally
from service.schemas.admin import BothDecided, ChangeAnswer, ReembeddedAnswer, ShadowAnswer
from service.schemas.recognition import RateAnswer
from service.schemas.requests import ReembedRequest, SwitchRequest
from service.store import Change, Deleted, Photo, Store


async def pair(service: Service) -> tuple[Recogniser, Recogniser]:
    """Return the one that serves and the other one. Raises NoChange."""
    if service.next is None:
        raise NoChange(
            "One bundle is loaded; start the service with LIKENESS_NEXT_BUNDLE to change it."
        )
    serving = await service.serving()
    return serving, service.first if serving is service.next else service.next


async def progress(service: Service) -> ChangeAnswer:
    """Tell how much the other bundle lacks. Raises NoChange."""
    serving, other = await pair(service)
    lack = await service.store.lack(Change(serving.fingerprint, other.fingerprint))
    return ChangeAnswer(
        serving=serving.fingerprint,
        other=other.fingerprint,
        lacking=lack.templates,
        without_photo=lack.without_photo,
        shadow=None
        if service.shadow is None
        else _shadow(service.shadow.tally(serving.fingerprint)),
    )


async def reembed(
    service: Service, form: ReembedRequest, by: str | None, caller: Caller
) -> ReembeddedAnswer:
    """Embed the photo of one template by the other bundle.

    Raises NoChange, PhotoNeeded, OtherPhoto, and what enrolling the photo would raise.
    """
    _, other = await pair(service)
    held = await service.store.photo(form.subject, form.template_id)
    policy = form.policy or service.settings.face_policy
    with naming("image"):
        photo = _photo(held, form.image)
        probe = await other.pipeline.probe(photo, policy, caller)
    with service.metrics.timed("store"):
        created = await asyncio.shield(
            service.store.add_vector(
                form.subject,
                form.template_id,
                other.fingerprint,
                probe.template.vector,
                by,
                measures_of(probe),
            )
        )
    return ReembeddedAnswer(
        subject=form.subject,
        template_id=form.template_id,
        fingerprint=other.fingerprint,
        created=created,
    )


async def switch(service: Service, form: SwitchRequest, by: str | None) -> ChangeAnswer:
    """Let a bundle serve, at every replica from its next request on.

    Raises NoChange, ChangeIncomplete.
    """
    serving, other = await pair(service)
    if form.fingerprint not in (serving.fingerprint, other.fingerprint):
        raise NoChange(f"No bundle {form.fingerprint[:12]} is loaded.")
    await switch_store(
        service.store, serving.fingerprint, form.fingerprint, form.accept_missing, by
    )
    return await progress(service)


async def switch_store(
    store: Store, serving: str, to: str, accept_missing: bool, by: str | None
) -> None:
    """Let another fingerprint than the `serving` one serve, whoever has its bundle loaded.

    Raises ChangeIncomplete.
    """
    if to != serving:
        await _check_complete(store, serving, to, accept_missing)
    await store.switch_to(to, by)


async def forget(service: Service, form: SwitchRequest, by: str | None) -> Deleted:
    """Erase what the bundle that does not serve has made.

    Raises NoChange, ChangeIncomplete.
    """
    serving, other = await pair(service)
    if form.fingerprint != other.fingerprint:
        raise NoChange(f"The bundle {form.fingerprint[:12]} serves, or is not loaded.")
    await _check_complete(
        service.store, other.fingerprint, serving.fingerprint, form.accept_missing
    )
    return await service.store.forget(form.fingerprint, by)


async def _check_complete(store: Store, old: str, new: str, accept_missing: bool) -> None:
    lack = await store.lack(Change(old, new))
    if lack.templates and not accept_missing:
        raise ChangeIncomplete(
            f"The bundle {new[:12]} lacks {lack.templates:,} templates; run "
            "`likeness reembed`, or accept that their subjects have to enrol again."
        )


def _shadow(tally: Tally) -> ShadowAnswer:
    rate = tally.disagreement
    return ShadowAnswer(
        compared=tally.compared,
        decisions=[
            BothDecided(live=live, candidate=candidate, requests=requests)
            for (live, candidate), requests in sorted(tally.decisions.items())
        ],
        disagreement=None if rate is None else RateAnswer.of(rate),
        dropped=dict(tally.dropped),
    )


def _photo(held: Photo | str, sent: bytes | None) -> bytes:
    """Return the photo of a template: as it was kept, or as it was sent now."""
    if isinstance(held, Photo):
        return held.photo
    if sent is None:
        raise PhotoNeeded("The photo of this template was not kept; send it along.")
    if hashlib.sha256(sent).hexdigest() != held:
        raise OtherPhoto("The template was made of another photo: the bytes differ.")
    return sent
