"""What is served and how it is: the model card, the probes and the metrics."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from models.decision import DEFAULT_POINT
from service.answers import OperatingPointAnswer
from service.errors import EncoderStopped, NotReady
from service.metrics import CONTENT_TYPE
from service.model_answers import BatchAnswer, Health, ModelAnswer
from service.recogniser import Recogniser
from service.service import Running, Service

router = APIRouter(tags=["service"])


@router.get("/model")
async def model(service: Running) -> ModelAnswer:
    """Show the model card: what decides here, how well, measured on what."""
    return describe(service, await service.serving())


@router.get("/livez")
async def livez(service: Running) -> Health:
    """Answer 200 while the event loop and the encoder's thread work, 503 otherwise."""
    if service.lost.is_set() or not all(each.batcher.alive for each in service.recognisers):
        raise EncoderStopped("The encoder does not answer.")
    return Health()


@router.get("/readyz")
async def readyz(request: Request, service: Running) -> Health:
    """Answer 200 while requests can be served: warm, store reachable, not shutting down."""
    request.app.state.gate.check_ready()
    if not all(each.batcher.ready for each in service.recognisers):
        raise NotReady("The encoder cannot take work now.")
    await service.store.ping()
    return Health()


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: Running) -> Response:
    """Give the metrics in Prometheus' text format."""
    service.metrics.templates((await service.store.count()).templates)
    return Response(service.metrics.render(), media_type=CONTENT_TYPE)


def describe(service: Service, serving: Recogniser) -> ModelAnswer:
    """Return the model card of what is served."""
    bundle, settings, embedder = serving.bundle, service.settings, serving.embedder
    manifest, calibration = bundle.manifest, bundle.manifest.calibration
    on_gpu = embedder.device.type == "cuda"
    names = [point.name for point in bundle.operating_points]
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
        default_operating_point=DEFAULT_POINT if DEFAULT_POINT in names else None,
        detector=settings.detector,
        device=str(embedder.device),
        engine=embedder.engine.name,
        precision=embedder.precision,
        batch=BatchAnswer(
            limit=serving.batcher.limit,
            max_batch=settings.batch_limit(on_gpu),
            max_queue=settings.queue_limit(on_gpu),
        ),
    )
