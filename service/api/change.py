"""A change of bundle over HTTP: show what is lacking, embed again, switch, forget."""

from fastapi import APIRouter, Request
from pydantic import JsonValue

from service.api.names import subject_named
from service.api.openapi import json_body, links, request_body
from service.api.recognition import read_form
from service.api.store import AfterNumber, PageLimit
from service.edge.body import read_model
from service.edge.disconnect import run_until_disconnect
from service.edge.guard import By
from service.recognition import change
from service.recognition.service import ServiceDep
from service.schemas.admin import (
    ChangeAnswer,
    LackingAnswer,
    LackingTemplate,
    ReembeddedAnswer,
)
from service.schemas.gallery import DeletedAnswer
from service.schemas.requests import ReembedRequest, SwitchRequest
from service.store import Change

router = APIRouter(prefix="/change", tags=["change of bundle"])
_OTHER: dict[str, JsonValue] = {"body": {"fingerprint": "$response.body#/other"}}
_FIRST: dict[str, JsonValue] = {
    "query.subject": "$response.body#/items/0/subject",
    "query.template_id": "$response.body#/items/0/template_id",
}


@router.get("", responses={200: links(switch=_OTHER, forget=_OTHER)})
async def change_of_bundle(service: ServiceDep) -> ChangeAnswer:
    """Show which bundle decides and how many templates the other one lacks."""
    return await change.progress(service)


@router.get("/lacking", responses={200: links(reembed=_FIRST)})
async def lacking(
    service: ServiceDep, after: AfterNumber = 0, limit: PageLimit = 100
) -> LackingAnswer:
    """List the templates that the other bundle lacks, one page at a time."""
    active, other = await change.active_and_other(service)
    templates = await service.store.lacking(
        Change(active.fingerprint, other.fingerprint), after, limit
    )
    return LackingAnswer(
        items=[LackingTemplate.model_validate(each) for each in templates],
        next=templates[-1].number if len(templates) == limit else None,
    )


@router.post("/reembed", openapi_extra=request_body(ReembedRequest))
async def reembed(request: Request, service: ServiceDep, by: By) -> ReembeddedAnswer:
    """Embed the photo of one template by the other bundle, under the same id."""
    form = await read_form(request, service, ReembedRequest)
    name = await subject_named(service.store, form.subject)
    form = form.model_copy(update={"subject": name})
    return await run_until_disconnect(request, change.reembed(service, form, by, service.caller()))


@router.post(
    "/switch",
    responses={200: links(switch=_OTHER, forget=_OTHER)},
    openapi_extra=json_body(SwitchRequest),
)
async def switch(request: Request, service: ServiceDep, by: By) -> ChangeAnswer:
    """Let a bundle serve, at every replica from its next request on.

    To switch back, send the fingerprint of the former bundle.
    """
    form = await read_model(request, SwitchRequest)
    return await change.switch(service, form, by)


@router.post("/forget", openapi_extra=json_body(SwitchRequest))
async def forget(request: Request, service: ServiceDep, by: By) -> DeletedAnswer:
    """Erase the templates of the bundle that does not serve; they are gone when this answers."""
    form = await read_model(request, SwitchRequest)
    return DeletedAnswer.model_validate(await change.forget(service, form, by))
