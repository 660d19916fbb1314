"""The app factory: one app, one service, nothing at import."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.api import (
    audit,
    change,
    docs,
    face_map,
    health,
    keys,
    names,
    recognition,
    subjects,
)
from service.api.health import SharedResult
from service.api.needs import OPEN_PATHS, PHOTO_PATHS
from service.api.needs import needs as api_needs
from service.api.openapi import DocumentedApp
from service.api.pages import ui_router
from service.api.rows import HEADERS as ROWS_HEADERS
from service.compat.compreface.access import needs as compreface_needs
from service.compat.compreface.routes import install_compreface
from service.compat.rekognition.access import policy_of as rekognition_policy
from service.compat.rekognition.routes import install_rekognition
from service.edge.access import Policy
from service.edge.admission import Admission, Gate
from service.edge.boundary import Boundary
from service.edge.cors import Cors
from service.edge.guard import Guard
from service.edge.keys import KeyRing
from service.edge.problems import install
from service.edge.targets import ExactTarget, HeadAsGet
from service.observe.metrics import Metrics
from service.observe.traces import NO_TELEMETRY, open_tracer
from service.recognition.service import open_service
from service.settings import Settings

# A single probe does not wait. Many probes at once cost no more than four a second.
PROBES_APART_S = 0.25

DESCRIPTION = """Face verification with measured error rates.

Send photos as multipart files or as base64 in JSON, under the same names. A single photo can also
be the whole body, with the other fields in the query. Every error is `application/problem+json`
with a stable `code`. The service does not detect liveness: a photo of a photo counts as a photo,
unless a liveness service of the operator checks a `liveness_token`."""


def create_app(settings: Settings) -> FastAPI:
    """Build the app; its parts are opened at its start and closed, in reverse, at its end."""
    metrics = Metrics()
    gate = Gate(settings.max_inflight, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            open_tracer(settings) as metrics.tracer,
            open_service(settings, metrics) as service,
        ):
            app.state.service, app.state.store = service, service.store
            app.state.keys = KeyRing(service.store, service.vault)
            app.state.device_lost = service.device_lost
            gate.open()
            yield
            gate.drain()

    app = DocumentedApp(
        with_keys=not settings.without_keys,
        title="Likeness",
        # The version of the API; the version of the software is not public.
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # Behind a proxy that ends TLS, a redirect would send the key to http://. Besides, a path
        # with another slash is another resource.
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.state.gate = gate
    app.state.metrics = metrics
    app.state.map_drawing = asyncio.Lock()
    app.state.metrics_page = SharedResult(lambda: health.metrics_page(app), PROBES_APART_S)
    app.state.damage = SharedResult(lambda: app.state.service.store.damage(), PROBES_APART_S)
    install(app)
    for module in (recognition, subjects, face_map, names, change, keys, audit, health, docs):
        app.include_router(module.router)
    if settings.ui:
        app.include_router(ui_router())
    # The last one added is the outermost.
    app.add_middleware(ExactTarget)
    policies = _policies(settings)
    app.add_middleware(Admission, gate=gate, settings=settings, policies=policies)
    app.add_middleware(Guard, gate=gate, settings=settings, policies=policies)
    app.add_middleware(Cors, settings=settings, answer_headers=ROWS_HEADERS)
    app.add_middleware(Boundary, metrics=metrics, open_paths=OPEN_PATHS, photo_paths=PHOTO_PATHS)
    if settings.compreface:
        install_compreface(app)
    if settings.rekognition:
        install_rekognition(app)
    app.add_middleware(HeadAsGet)
    return app


def _policies(settings: Settings) -> list[Policy]:
    """Return one policy for each interface that is served."""
    policies: list[Policy] = [api_needs]
    if settings.compreface:
        policies.append(compreface_needs)
    if settings.rekognition:
        policies.append(rekognition_policy(settings))
    return policies
