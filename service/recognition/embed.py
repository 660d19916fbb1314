"""Embed: return the vectors of photos."""

from models.errors import LikenessError
from service.pipeline.decode import Caller
from service.pipeline.pipeline import Probe, check_any_usable
from service.recognition.render import face_answer, problem_answer, took_answer
from service.recognition.service import Service
from service.schemas.recognition import EmbedAnswer, EmbeddedImage
from service.schemas.requests import EmbedRequest


async def embed_photos(service: Service, form: EmbedRequest, caller: Caller) -> EmbedAnswer:
    """Return the vectors of the photos that can be used.

    Raises the first photo's error if none can be used.
    """
    recogniser = await service.active()
    policy = form.policy or service.settings.face_policy
    probes = await recogniser.pipeline.probe_each(form.image, policy, caller)
    check_any_usable(probes)
    features = form.output == "features"
    bundle = recogniser.bundle
    return EmbedAnswer(
        images=[
            _embedded_image(place, probe, features=features) for place, probe in enumerate(probes)
        ],
        output=form.output,
        dimension=bundle.encoder.width if features else bundle.dimension,
        fingerprint=recogniser.fingerprint,
    )


def _embedded_image(place: int, probe: Probe | LikenessError, *, features: bool) -> EmbeddedImage:
    """Return the vector of the photo at `place`, or its features, or why it has none."""
    if isinstance(probe, LikenessError):
        return EmbeddedImage(image=place, status="failed", problem=problem_answer(probe))
    numbers = probe.row.features if features else probe.row.vector
    return EmbeddedImage(
        image=place,
        status="embedded",
        vector=numbers.tolist(),
        face=face_answer(probe),
        took=took_answer(probe),
    )
