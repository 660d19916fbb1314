"""The model card: which bundle decides, how well, and what that was measured on."""

from models.bundle import Bundle, Calibration
from models.decision import default_point
from models.evaluation.rates import ERRORS_WANTED
from service.recognition.recogniser import Recogniser
from service.recognition.render import point_answer
from service.recognition.service import Service
from service.schemas.admin import (
    BatchAnswer,
    CohortAnswer,
    ConditionAnswer,
    CurveAnswer,
    FusionAnswer,
    GroupAnswer,
    LicenceAnswer,
    ModelAnswer,
)
from service.settings import Settings


def describe(service: Service, recogniser: Recogniser) -> ModelAnswer:
    """Return the model card of the bundle that decides."""
    bundle, settings, embedder = recogniser.bundle, service.settings, recogniser.embedder
    manifest, calibration = bundle.manifest, bundle.manifest.calibration
    on_gpu = embedder.device.type == "cuda"
    return ModelAnswer(
        name=manifest.name,
        chosen_because=bundle.chosen_because,
        fingerprint=bundle.fingerprint,
        other_fingerprints=[
            each.fingerprint for each in service.recognisers if each is not recogniser
        ],
        dimension=bundle.dimension,
        encoder=manifest.encoder.kind,
        trained_on=manifest.trained_on,
        not_good_for=manifest.not_good_for,
        calibrated_on=None if calibration is None else calibration.data,
        accuracy=None if calibration is None else calibration.accuracy,
        failure_to_enrol=None if calibration is None else calibration.failure_to_enrol,
        operating_points=[point_answer(point) for point in bundle.operating_points],
        default_operating_point=_default_point(bundle, settings),
        curve=_curve(calibration),
        cohort=manifest.cohort and CohortAnswer.model_validate(manifest.cohort.model_dump()),
        quality=manifest.quality and manifest.quality.data,
        groups=[GroupAnswer.model_validate(each) for each in bundle.groups],
        conditions=[ConditionAnswer.model_validate(each) for each in bundle.conditions],
        fusion=[FusionAnswer.model_validate(each) for each in bundle.fusion],
        detector=bundle.detector.name,
        licences=[LicenceAnswer.model_validate(licence) for licence in bundle.licences],
        device=str(embedder.device),
        engine=embedder.engine.name,
        precision=embedder.precision,
        batch=BatchAnswer(
            limit=recogniser.batcher.limit,
            max_batch=settings.batch_limit(on_gpu),
            max_queue=settings.queue_limit(on_gpu),
        ),
    )


def _default_point(bundle: Bundle, settings: Settings) -> str | None:
    """Return the operating point for requests that name none."""
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
