"""CompreFace's routes that take vectors, such as its plugin `calculator` gave.

A vector does not say which bundle made it. It is taken for one of the bundle that decides now;
after a change of bundle, old ones mean nothing, as after a change of model there.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request

from models.decision import Template
from service.compat.compreface.access import PREFIX
from service.compat.compreface.answers import (
    ComparedVector,
    ComparedVectors,
    NamedVector,
    NamedVectors,
    Words,
)
from service.compat.compreface.collection import FaceCollection
from service.compat.compreface.faces import predict
from service.compat.compreface.requests import (
    Options,
    SourceAndTargets,
    Vectors,
    read_vectors,
)
from service.errors import FieldError, invalid_fields
from service.recognition.service import ServiceDep

router = APIRouter(prefix=PREFIX, include_in_schema=False)


@router.post("/recognition/embeddings/recognize")
async def recognize(
    request: Request, service: ServiceDep, options: Annotated[Options, Query()]
) -> NamedVectors:
    words = Words(service, await service.active(), options)
    form = await read_vectors(request, service, Vectors)
    return NamedVectors(
        result=[
            NamedVector(
                embedding=vector,
                similarities=await predict(words, template),
            )
            for vector, template in _templates(words, form.embeddings)
        ]
    )


@router.post("/recognition/embeddings/faces/{image_id}/verify")
async def verify(request: Request, service: ServiceDep, image_id: str) -> ComparedVectors:
    words = Words(service, await service.active(), Options())
    form = await read_vectors(request, service, Vectors)
    collection = FaceCollection.of(words.service.store, words.serving)
    source = await collection.template(await collection.one(image_id))
    return _compared(words, source, form.embeddings)


@router.post("/verification/embeddings/verify")
async def compare(request: Request, service: ServiceDep) -> ComparedVectors:
    words = Words(service, await service.active(), Options())
    form = await read_vectors(request, service, SourceAndTargets)
    ((_, source),) = _templates(words, [form.source])
    return _compared(words, source, form.targets)


def _compared(words: Words, source: Template, vectors: Sequence[list[float]]) -> ComparedVectors:
    result = [
        ComparedVector(embedding=vector, similarity=words.alike(source, template))
        for vector, template in _templates(words, vectors)
    ]
    return ComparedVectors(result=sorted(result, key=lambda each: -each.similarity))


def _templates(
    words: Words, vectors: Sequence[list[float]]
) -> Iterator[tuple[list[float], Template]]:
    """Yield each vector with the template that it makes, whatever its length."""
    size, most = words.serving.bundle.dimension, words.service.settings.max_images
    if len(vectors) > most:
        raise invalid_fields([FieldError("body", f"Holds {len(vectors)} vectors, at most {most}")])
    for vector in vectors:
        numbers = np.asarray(vector, np.float64)
        largest = float(np.abs(numbers).max(initial=0.0))
        if len(vector) != size or not 0 < largest < math.inf:
            raise invalid_fields([FieldError("body", f"Vectors here have {size} finite numbers")])
        # First by the largest: squares of large numbers are infinite.
        unit = numbers / largest / np.linalg.norm(numbers / largest)
        yield vector, words.serving.bundle.template(unit.astype(np.float32))
