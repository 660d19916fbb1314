"""API keys over HTTP: create, list, revoke."""

from fastapi import APIRouter, Request

from service.api.openapi import json_body, links
from service.api.store import StoreDep
from service.edge.body import read_model
from service.edge.guard import By
from service.edge.keys import KeyRing, make_key, signing_pair
from service.errors import KeyNotFound
from service.schemas.admin import KeyAnswer, KeysAnswer, NewKeyAnswer
from service.schemas.requests import NewKeyRequest
from service.store import utc_now

router = APIRouter(prefix="/keys", tags=["keys"])


@router.post(
    "",
    status_code=201,
    responses={201: links(revoke_key={"path.key_id": "$response.body#/key_id"})},
    openapi_extra=json_body(NewKeyRequest),
)
async def create_key(request: Request, store: StoreDep, by: By) -> NewKeyAnswer:
    """Create a key; it is valid at once, and only this answer shows it."""
    form = await read_model(request, NewKeyRequest)
    keys: KeyRing = request.app.state.keys
    vault = keys.vault if form.signing else None
    stored, key = make_key(form.name, form.scopes, form.per_s, form.at_once, utc_now(), vault)
    await store.add_key(stored, by)
    access_key_id, secret = signing_pair(key) if form.signing else (None, None)
    return NewKeyAnswer(
        **KeyAnswer.model_validate(stored).model_dump(),
        key=key,
        access_key_id=access_key_id,
        secret_access_key=secret,
    )


@router.get("")
async def keys(store: StoreDep) -> KeysAnswer:
    """List the keys, oldest first, revoked ones included."""
    return KeysAnswer(items=[KeyAnswer.model_validate(key) for key in await store.keys()])


@router.delete("/{key_id}")
async def revoke_key(store: StoreDep, by: By, key_id: str) -> KeyAnswer:
    """Revoke a key; it is invalid at every replica when this answers."""
    if not await store.revoke_key(key_id, by):
        raise KeyNotFound("There is no key with this id.")
    key = await store.key(key_id)
    assert key is not None  # keys are never deleted
    return KeyAnswer.model_validate(key)
