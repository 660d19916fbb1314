"""Add CompreFace's API to an app."""

from fastapi import FastAPI

from service.compat.compreface import collection_routes, photo_routes, vector_routes
from service.compat.compreface.access import is_compreface
from service.compat.compreface.errors import translate
from service.compat.translated import Translated


def install_compreface(app: FastAPI) -> None:
    """Add its routes, and what says problems in its words; that is to be the outermost layer."""
    for module in (photo_routes, collection_routes, vector_routes):
        app.include_router(module.router)
    app.add_middleware(Translated, is_theirs=is_compreface, translate=translate)
