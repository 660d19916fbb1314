"""Embed: return the vectors of photos."""

from collections.abc import Sequence

from models.errors import LikenessError
from models.photo import Policy
from service.pipeline.caller import Caller
from service.pipeline.pipeline import Probe
from service.recognition.service import Service
from service.schemas.recognition import (
    EmbedAnswer,
    EmbeddedImage,
)
from service.schemas.requests import EmbedRequest


async def embed_photos(service: Service, form: EmbedRequest, caller: Caller) -> EmbedAnswer:
    """Return the vectors of the photos that can be used; raise if none can."""
    serving = await service.serving()
    probes = await serving.pipeline.probe_each(form.image, policy_of(form.policy, service), caller)
    raise_if_none(probes)
    features = form.output == "features"
    return EmbedAnswer(
        images=[EmbeddedImage.of(at, probe, features) for at, probe in enumerate(probes)],
        output=form.output,
        dimension=serving.bundle.encoder.width if features else serving.bundle.dimension,
        fingerprint=serving.fingerprint,
    )


def policy_of(asked: Policy | None, service: Service) -> Policy:
    return asked or service.settings.face_policy


def raise_if_none(probes: Sequence[Probe | LikenessError]) -> None:
    errors = [probe for probe in probes if isinstance(probe, LikenessError)]
    if len(errors) == len(probes):
        raise errors[0].about("image.0")
