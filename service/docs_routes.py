"""The page that explains every route and field."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from service.docs_page import POLICY, render

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Show the OpenAPI document as a page."""
    state = request.app.state
    if not hasattr(state, "docs_page"):
        state.docs_page = render(request.app.openapi())
    return HTMLResponse(
        state.docs_page,
        headers={"content-security-policy": POLICY, "cache-control": "no-cache"},
    )
