"""A change of bundle: embed the gallery again, switch, and forget the old bundle's templates.

Both bundles are loaded, and one of them serves. Every enrolment uses both, so the other bundle
never lacks more templates than before.
"""

import asyncio
import hashlib

from models.errors import naming
from service.errors import ChangeIncomplete, NoChange, OtherPhoto, PhotoNeeded
from service.pipeline.decode import Caller
from service.recognition.enroll import measures_of
from service.recognition.recogniser import Recogniser
from service.recognition.service import Service
from service.recognition.shadow import Tally
from service.schemas.admin import ChangeAnswer, DecisionPair, ReembeddedAnswer, ShadowAnswer
from service.schemas.recognition import RateAnswer
from service.schemas.requests import ReembedRequest, SwitchRequest
from service.store import Change, Deletion, Photo
from service.store.protocol import Changes


async def active_and_other(service: Service) -> tuple[Recogniser, Recogniser]:
    """Return the recogniser that serves and the other one. Raises NoChange."""
    if service.next is None:
        raise NoChange(
            "Only one bundle is loaded; to change it, start the service with LIKENESS_NEXT_BUNDLE."
        )
    active = await service.active()
    return active, service.first if active is service.next else service.next


async def progress(service: Service) -> ChangeAnswer:
    """Return how many templates the other bundle lacks. Raises NoChange."""
    active, other = await active_and_other(service)
    lack = await service.store.lack(Change(active.fingerprint, other.fingerprint))
    return ChangeAnswer(
        serving=active.fingerprint,
        other=other.fingerprint,
        lacking=lack.templates,
        without_photo=lack.without_photo,
        shadow=None
        if service.shadow is None
        else _shadow(service.shadow.tally(active.fingerprint)),
    )


async def reembed(
    service: Service, form: ReembedRequest, by: str | None, caller: Caller
) -> ReembeddedAnswer:
    """Embed the photo of one template by the other bundle.

    Raises NoChange, PhotoNeeded, OtherPhoto, and the errors of enrolling a photo.
    """
    _, other = await active_and_other(service)
    stored = await service.store.photo(form.subject, form.template_id)
    policy = form.policy or service.settings.face_policy
    with naming("image"):
        photo = _photo(stored, form.image)
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

    Raises NoChange and ChangeIncomplete.
    """
    active, other = await active_and_other(service)
    if form.fingerprint not in (active.fingerprint, other.fingerprint):
        raise NoChange(f"The bundle {form.fingerprint[:12]} is not loaded.")
    await switch_store(service.store, active.fingerprint, form.fingerprint, form.accept_missing, by)
    return await progress(service)


async def switch_store(
    store: Changes, serving: str, to: str, accept_missing: bool, by: str | None
) -> None:
    """Let the bundle of the fingerprint `to` serve, although no bundle may be loaded here.

    `serving` is the fingerprint that serves now. Raises ChangeIncomplete.
    """
    if to != serving:
        await _check_complete(store, serving, to, accept_missing)
    await store.switch_to(to, by)


async def forget(service: Service, form: SwitchRequest, by: str | None) -> Deletion:
    """Erase the templates of the bundle that does not serve.

    Raises NoChange and ChangeIncomplete.
    """
    active, other = await active_and_other(service)
    if form.fingerprint != other.fingerprint:
        raise NoChange(
            f"The bundle {form.fingerprint[:12]} is the one that serves, or is not loaded."
        )
    await _check_complete(service.store, other.fingerprint, active.fingerprint, form.accept_missing)
    return await service.store.forget(form.fingerprint, by)


async def _check_complete(store: Changes, old: str, new: str, accept_missing: bool) -> None:
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
            DecisionPair(live=live, candidate=candidate, requests=requests)
            for (live, candidate), requests in sorted(tally.decisions.items())
        ],
        disagreement=None if rate is None else RateAnswer.model_validate(rate),
        dropped=dict(tally.dropped),
    )


def _photo(stored: Photo | str, sent: bytes | None) -> bytes:
    """Return the photo of a template: the stored one, or the one sent if its SHA-256 fits."""
    if isinstance(stored, Photo):
        return stored.photo
    if sent is None:
        raise PhotoNeeded(
            "The service did not keep the photo of this template; send the photo with the request."
        )
    if hashlib.sha256(sent).hexdigest() != stored:
        raise OtherPhoto("The template was made of another photo: the bytes differ.")
    return sent
