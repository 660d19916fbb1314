"""What is served and how it is: the model card, the probes and the metrics."""

import asyncio

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from models.bundle import Bundle, Calibration
from models.decision import default_point
from models.errors import LikenessError
from models.evaluation.rates import ERRORS_WANTED
from service.errors import DecoderStalled, EncoderStopped, NotReady, StoreError
from service.observe.metrics import CONTENT_TYPE
from service.recognition.recogniser import Recogniser
from service.recognition.service import Running, Service
from service.schemas.admin import (
    BatchAnswer,
    CohortAnswer,
    ConditionAnswer,
    CurveAnswer,
    FusionAnswer,
    GroupAnswer,
    Health,
    LicenceAnswer,
    ModelAnswer,
)
from service.schemas.recognition import OperatingPointAnswer
from service.settings import Settings

router = APIRouter(tags=["service"])
# Whoever collects metrics gives up after some seconds, and would have none at all.
_STORE_S = 2.0


@router.get("/model")
async def model(service: Running) -> ModelAnswer:
    """Show the model card: what decides here, how well, measured on what."""
    return describe(service, await service.serving())


@router.get("/livez")
async def livez(service: Running) -> Health:
    """Answer 200 while the event loop, the encoder and the decoders work, 503 otherwise."""
    if service.lost.is_set() or not all(each.batcher.alive for each in service.recognisers):
        raise EncoderStopped("The encoder does not answer.")
    if not all(each.pool.alive for each in service.recognisers):
        raise DecoderStalled("A photo hangs in the decoder.")
    return Health()


@router.get("/readyz")
async def readyz(request: Request, service: Running) -> Health:
    """Answer 200 while requests can be served: warm, store reachable, not shutting down."""
    _check_ready(request.app, service)
    await service.store.ping()
    return Health(damaged=len(await request.app.state.damage.get()))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Give the metrics in Prometheus' text format; also, and above all, while something is away."""
    return Response(await request.app.state.metrics_page.get(), media_type=CONTENT_TYPE)


async def metrics_page(app: FastAPI) -> bytes:
    """Return the metrics as they are now, in Prometheus' text format."""
    service: Service = app.state.service
    try:
        async with asyncio.timeout(_STORE_S):
            await service.store.ping()
            templates: int | None = (await service.store.count()).templates
            service.metrics.damaged(len(await service.store.damage()))
    except (StoreError, TimeoutError):
        templates = None
    service.metrics.store_up(templates)
    try:
        _check_ready(app, service)
        service.metrics.ready(templates is not None)
    except LikenessError:
        service.metrics.ready(False)
    return service.metrics.render()


def _check_ready(app: FastAPI, service: Service) -> None:
    app.state.gate.check_ready()
    if not all(each.batcher.ready and each.pool.alive for each in service.recognisers):
        raise NotReady("The encoder or a decoder cannot take work now.")


def describe(service: Service, serving: Recogniser) -> ModelAnswer:
    """Return the model card of what is served."""
    bundle, settings, embedder = serving.bundle, service.settings, serving.embedder
    manifest, calibration = bundle.manifest, bundle.manifest.calibration
    on_gpu = embedder.device.type == "cuda"
    return ModelAnswer(
        name=manifest.name,
        chosen_because=bundle.chosen_because,
        fingerprint=bundle.fingerprint,
        other_fingerprints=[
            each.fingerprint for each in service.recognisers if each is not serving
        ],
        dimension=bundle.dimension,
        encoder=manifest.encoder.kind,
        trained_on=manifest.trained_on,
        not_good_for=manifest.not_good_for,
        calibrated_on=None if calibration is None else calibration.data,
        accuracy=None if calibration is None else calibration.accuracy,
        failure_to_enrol=None if calibration is None else calibration.failure_to_enrol,
        operating_points=[OperatingPointAnswer.of(point) for point in bundle.operating_points],
        default_operating_point=_usual(bundle, settings),
        curve=_curve(calibration),
        cohort=manifest.cohort and CohortAnswer.model_validate(manifest.cohort.model_dump()),
        quality=manifest.quality and manifest.quality.data,
        groups=[GroupAnswer.model_validate(each) for each in bundle.groups],
        conditions=[ConditionAnswer.model_validate(each) for each in bundle.conditions],
        fusion=[FusionAnswer.model_validate(each) for each in bundle.fusion],
        detector=bundle.detector.name,
        licences=[LicenceAnswer.of(licence) for licence in bundle.licences],
        device=str(embedder.device),
        engine=embedder.engine.name,
        precision=embedder.precision,
        batch=BatchAnswer(
            limit=serving.batcher.limit,
            max_batch=settings.batch_limit(on_gpu),
            max_queue=settings.queue_limit(on_gpu),
        ),
    )


def _usual(bundle: Bundle, settings: Settings) -> str | None:
    """Return the operating point of requests that name none."""
    if not bundle.operating_points:
        return None
    return settings.operating_point or default_point(bundle.operating_points)


def _curve(calibration: Calibration | None) -> CurveAnswer | None:
    if calibration is None or calibration.curve is None:
        return None
    curve = calibration.curve
    return CurveAnswer(
        thresholds=list(curve.thresholds),
        fmr=list(curve.fmr),
        fnmr=list(curve.fnmr),
        genuine_pairs=calibration.genuine_pairs,
        impostor_pairs=calibration.impostor_pairs,
        errors_wanted=ERRORS_WANTED,
    )
