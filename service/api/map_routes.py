"""The map of the gallery over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from models.evaluation.layout import MOST_VECTORS
from service.edge.disconnect import run_until_disconnect
from service.errors import TooManyRequests
from service.recognition.face_map import draw_map
from service.recognition.service import Running
from service.schemas.map_answers import MapAnswer

router = APIRouter(tags=["gallery"])


@router.get("/map")
async def gallery_map(
    request: Request,
    service: Running,
    after: Annotated[str | None, Query(max_length=256, description="`next` of a map")] = None,
    limit: Annotated[
        int, Query(ge=4, le=MOST_VECTORS, description="most templates")
    ] = MOST_VECTORS,
) -> MapAnswer:
    """Lay out templates so that like ones lie together (t-SNE), in the order of subjects' names.

    One map is drawn at a time: it takes a core for seconds. `likeness map` draws thousands.
    """
    drawing = request.app.state.map_drawing
    if drawing.locked():
        raise TooManyRequests("Another map is being drawn.")
    async with drawing:
        return await run_until_disconnect(request, draw_map(service, after, limit))
