"""What CompreFace's clients send: photos, vectors and names in the body, the rest in the query.

Beside photos the rest may be fields of the form as well: there all are request parameters, which
its framework takes from either.
"""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, Field, RootModel

from service.api.recognition import read_form
from service.edge.body import read_model
from service.edge.problems import request_id
from service.recognition.service import Service
from service.schemas.requests import Photo, SubjectId

M = TypeVar("M", bound=BaseModel)


class Options(BaseModel):
    """Say which faces of a photo count, and what is said of them; a limit of 0 is none."""

    limit: int = Field(0, ge=0)
    det_prob_threshold: float = Field(0.0, ge=0, le=1)
    prediction_count: int = Field(1, ge=1)
    face_plugins: str = ""
    status: bool = False
    detect_faces: bool = True

    @property
    def wants_vectors(self) -> bool:
        """Tell whether the one plugin is asked for that there is here."""
        return "calculator" in (name.strip() for name in self.face_plugins.split(","))


class OnePhoto(Options):
    file: Photo


class NewExample(OnePhoto):
    subject: SubjectId


class TwoPhotos(Options):
    source_image: Photo
    target_image: Photo


class Name(BaseModel):
    subject: SubjectId


class ImageIds(RootModel[list[str]]):
    pass


class Vectors(BaseModel):
    embeddings: list[list[float]] = Field(min_length=1)


class SourceAndTargets(BaseModel):
    source: list[float]
    targets: list[list[float]] = Field(min_length=1)


async def read_photos(request: Request, service: Service, model: type[M]) -> M:
    """Read photos and what goes with them, the query before the form.

    Unless the service wants proof that they are of somebody living: CompreFace's clients have
    none to show. Raises LivenessTokenNeeded.
    """
    await _without_token(request, service)
    query = {
        name: [value] for name, value in request.query_params.items() if name in model.model_fields
    }
    return await read_form(request, service, model, query)


async def read_vectors(request: Request, service: Service, model: type[M]) -> M:
    """Read vectors, which are proof of nobody. Raises LivenessTokenNeeded."""
    await _without_token(request, service)
    return await read_model(request, model)


async def _without_token(request: Request, service: Service) -> None:
    await service.liveness.check(None, (), request.url.path, request_id(request.scope))
