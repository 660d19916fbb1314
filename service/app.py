"""The app factory: one app, one service, nothing at import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from service import (
    audit_routes,
    change_routes,
    gallery_routes,
    health_routes,
    key_routes,
    routes,
    seal_routes,
)
from service.admission import Admission, Gate
from service.boundary import Boundary
from service.guard import Guard
from service.metrics import Metrics
from service.problems import Problem, install
from service.service import open_service
from service.settings import Settings

DESCRIPTION = """Face verification with decisions that can be defended.

Photos come as multipart files or as base64 in JSON, under the same names; a single one also
bare, the other fields in the query. Every error is `application/problem+json` with a stable
`code`. There is no liveness detection: a photo of a photo is a photo."""


def create_app(settings: Settings) -> FastAPI:
    """Build the app; its parts open when it starts and close, in reverse, when it ends."""
    metrics = Metrics()
    gate = Gate(settings.max_inflight, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(settings, metrics) as service:
            app.state.service = service
            gate.open()
            yield
            gate.drain()

    app = FastAPI(
        title="Likeness",
        version=version("likeness"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        responses={"default": {"model": Problem, "description": "Why not, and what to do."}},
    )
    app.state.gate = gate
    install(app)
    for module in (
        routes,
        gallery_routes,
        change_routes,
        key_routes,
        audit_routes,
        seal_routes,
        health_routes,
    ):
        app.include_router(module.router)
    # The last one added is the outermost.
    app.add_middleware(Admission, gate=gate, settings=settings)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Boundary, metrics=metrics)
    return app
