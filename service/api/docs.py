"""The OpenAPI document, for programs and as a page that explains every route and field."""

import json

from fastapi import APIRouter, FastAPI, Request, Response

from service.api.docs_page import POLICY, render
from service.api.made_once import Page

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
async def document(request: Request) -> Response:
    """Give the OpenAPI document."""
    document, _ = _pages(request.app)
    return document.answer(request, {})


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the OpenAPI document as a page."""
    _, page = _pages(request.app)
    return page.answer(request, {"content-security-policy": POLICY})


def _pages(app: FastAPI) -> tuple[Page, Page]:
    """Return the document and the page, made when the first one asks."""
    if not hasattr(app.state, "docs"):
        made = app.openapi()
        text = json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()
        app.state.docs = (
            Page.of(text, "application/json"),
            Page.of(render(made).encode(), "text/html; charset=utf-8"),
        )
    document, page = app.state.docs
    return document, page
