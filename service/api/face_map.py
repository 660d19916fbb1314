"""A map of the gallery over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from service.edge.disconnect import run_until_disconnect
from service.errors import TooManyRequests
from service.recognition.face_map import MOST_TEMPLATES, draw_map
from service.recognition.service import ServiceDep
from service.schemas.gallery import MapAnswer

router = APIRouter(tags=["gallery"])


@router.get("/map")
async def gallery_map(
    request: Request,
    service: ServiceDep,
    after: Annotated[
        str | None, Query(max_length=256, description="`next` of the previous map")
    ] = None,
    limit: Annotated[
        int, Query(ge=4, le=MOST_TEMPLATES, description="most templates")
    ] = MOST_TEMPLATES,
) -> MapAnswer:
    """Map templates so that similar ones lie together, in the order of subjects' names.

    The method is t-SNE; it is principal components for fewer than ten templates, and where
    scikit-learn is not installed. One map is drawn at a time, since it takes a core for seconds.
    `likeness map` draws thousands of templates.
    """
    drawing = request.app.state.map_drawing
    if drawing.locked():
        raise TooManyRequests("Another map is being drawn.")
    async with drawing:
        return await run_until_disconnect(request, draw_map(service, after, limit))
