"""Add Amazon Rekognition's protocol to an app."""

from fastapi import FastAPI

from service.compat.rekognition import routes
from service.compat.rekognition.access import is_rekognition
from service.compat.rekognition.errors import translate
from service.compat.translated import Translated


def install_rekognition(app: FastAPI) -> None:
    """Add its route, and what says problems in its words; that is to be the outermost layer."""
    app.include_router(routes.router)
    app.add_middleware(Translated, is_theirs=is_rekognition, translate=translate)
