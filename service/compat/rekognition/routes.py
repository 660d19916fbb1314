"""One route for all operations: the header says which."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from fastapi import APIRouter, Request, Response

from service.compat.rekognition import collections, faces
from service.compat.rekognition.access import PATH, operation_of, takes_photos
from service.compat.rekognition.asked import Asked
from service.compat.rekognition.errors import MEDIA_TYPE
from service.compat.rekognition.requests import (
    Call,
    CompareFaces,
    CreateCollection,
    DeleteCollection,
    DeleteFaces,
    DescribeCollection,
    DetectFaces,
    IndexFaces,
    ListCollections,
    ListFaces,
    SearchFaces,
    SearchFacesByImage,
)
from service.compat.rekognition.shapes import Shape
from service.edge.body import read_json_body, validate
from service.edge.disconnect import run_until_disconnect
from service.edge.guard import By, MayLower
from service.edge.keys import count_photos
from service.edge.multipart import as_object
from service.edge.problems import request_id
from service.errors import RouteNotFound
from service.recognition.service import ServiceDep

router = APIRouter(include_in_schema=False)

M = TypeVar("M", bound=Call)


@dataclass(frozen=True, slots=True)
class Operation(Generic[M]):
    """Say what an operation takes and what it does."""

    takes: type[M]
    does: Callable[[Asked, M], Coroutine[None, None, Shape]]


OPERATIONS: Final[Mapping[str, Operation[Any]]] = MappingProxyType(
    {
        "CompareFaces": Operation(CompareFaces, faces.compare),
        "DetectFaces": Operation(DetectFaces, faces.detect),
        "IndexFaces": Operation(IndexFaces, faces.index),
        "SearchFacesByImage": Operation(SearchFacesByImage, faces.search_by_image),
        "SearchFaces": Operation(SearchFaces, faces.search),
        "CreateCollection": Operation(CreateCollection, collections.create),
        "ListCollections": Operation(ListCollections, collections.every),
        "DescribeCollection": Operation(DescribeCollection, collections.describe),
        "DeleteCollection": Operation(DeleteCollection, collections.delete),
        "ListFaces": Operation(ListFaces, collections.faces),
        "DeleteFaces": Operation(DeleteFaces, collections.delete_faces),
    }
)


@router.post(PATH)
async def call(request: Request, service: ServiceDep, by: By, may_lower: MayLower) -> Response:
    """Do what the target says, once the whole body is there: a signature is of all of it."""
    name = operation_of(request.scope)
    if name is None or name not in OPERATIONS:
        raise RouteNotFound(f"There is no such operation here; there are {', '.join(OPERATIONS)}.")
    members = await read_json_body(request, MEDIA_TYPE.encode())
    if takes_photos(name):
        # Its clients have no proof of a living person to show.
        await service.liveness.check(None, (), request.url.path, request_id(request.scope))
    operation = OPERATIONS[name]
    form = validate(as_object(members), operation.takes)
    count_photos(request.scope, form)
    asked = Asked(service, await service.active(), service.caller(), by, may_lower)
    answer = await run_until_disconnect(request, operation.does(asked, form))
    headers = {"x-amzn-requestid": request_id(request.scope) or ""}
    return Response(answer.written(), media_type=MEDIA_TYPE, headers=headers)
