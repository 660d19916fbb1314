"""The one route of all operations; a header names the operation."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from fastapi import APIRouter, FastAPI, Request, Response

from service.compat.rekognition import collections, faces
from service.compat.rekognition.access import PATH, is_rekognition, operation_of, takes_photos
from service.compat.rekognition.errors import MEDIA_TYPE, translate
from service.compat.rekognition.faces import OperationContext
from service.compat.rekognition.schemas import (
    CompareFacesRequest,
    CreateCollectionRequest,
    DeleteCollectionRequest,
    DeleteFacesRequest,
    DescribeCollectionRequest,
    DetectFacesRequest,
    IndexFacesRequest,
    ListCollectionsRequest,
    ListFacesRequest,
    RequestShape,
    ResponseShape,
    SearchFacesByImageRequest,
    SearchFacesRequest,
)
from service.compat.translation import ProblemTranslator
from service.edge.body import read_json_body, validate
from service.edge.disconnect import run_until_disconnect
from service.edge.guard import By, MayLower
from service.edge.keys import count_photos
from service.edge.multipart import as_object
from service.edge.problems import request_id
from service.errors import RouteNotFound
from service.recognition.service import ServiceDep

router = APIRouter(include_in_schema=False)

M = TypeVar("M", bound=RequestShape)


@dataclass(frozen=True, slots=True)
class Operation(Generic[M]):
    """Hold the type of an operation's request, and the function that answers it."""

    request: type[M]
    run: Callable[[OperationContext, M], Coroutine[None, None, ResponseShape]]


OPERATIONS: Final[Mapping[str, Operation[Any]]] = MappingProxyType(
    {
        "CompareFaces": Operation(CompareFacesRequest, faces.compare),
        "DetectFaces": Operation(DetectFacesRequest, faces.detect),
        "IndexFaces": Operation(IndexFacesRequest, faces.index),
        "SearchFacesByImage": Operation(SearchFacesByImageRequest, faces.search_by_image),
        "SearchFaces": Operation(SearchFacesRequest, faces.search),
        "CreateCollection": Operation(CreateCollectionRequest, collections.create),
        "ListCollections": Operation(ListCollectionsRequest, collections.list_all),
        "DescribeCollection": Operation(DescribeCollectionRequest, collections.describe),
        "DeleteCollection": Operation(DeleteCollectionRequest, collections.delete),
        "ListFaces": Operation(ListFacesRequest, collections.list_faces),
        "DeleteFaces": Operation(DeleteFacesRequest, collections.delete_faces),
    }
)


@router.post(PATH)
async def call(request: Request, service: ServiceDep, by: By, may_lower: MayLower) -> Response:
    """Run the operation that the target header names.

    The whole body is read first, because a signature covers all of it.
    """
    name = operation_of(request.scope)
    if name is None or name not in OPERATIONS:
        raise RouteNotFound(f"This operation does not exist here. Use {', '.join(OPERATIONS)}.")
    members = await read_json_body(request, MEDIA_TYPE.encode())
    if takes_photos(name):
        # Rekognition's clients cannot send a liveness token: refused if the service needs one.
        await service.liveness.check(None, (), request.url.path, request_id(request.scope))
    operation = OPERATIONS[name]
    form = validate(as_object(members), operation.request)
    count_photos(request.scope, form)
    context = OperationContext(service, await service.active(), service.caller(), by, may_lower)
    response = await run_until_disconnect(request, operation.run(context, form))
    headers = {"x-amzn-requestid": request_id(request.scope) or ""}
    return Response(response.to_json(), media_type=MEDIA_TYPE, headers=headers)


def install_rekognition(app: FastAPI) -> None:
    """Add the route, and translate its problems; add no middleware but HeadAsGet after this."""
    app.include_router(router)
    app.add_middleware(ProblemTranslator, is_theirs=is_rekognition, translate=translate)
