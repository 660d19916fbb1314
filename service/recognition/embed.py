"""Embed: return the vectors of photos."""

from service.pipeline.decode import Caller
from service.pipeline.pipeline import check_any_usable
from service.recognition.render import embedded_image
from service.recognition.service import Service
from service.schemas.recognition import EmbedAnswer
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
            embedded_image(place, probe, features=features) for place, probe in enumerate(probes)
        ],
        output=form.output,
        dimension=bundle.encoder.width if features else bundle.dimension,
        fingerprint=recogniser.fingerprint,
    )
