"""The root of what can go wrong around the pipeline."""

from models.errors import LikenessError


class ServiceError(LikenessError):
    """Carry what a model error carries, and when trying again makes sense."""

    retry_after_s: int | None = None
