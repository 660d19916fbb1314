"""The settings of whose interfaces are spoken besides our own."""

from pydantic import BaseModel, Field


class CompatSettings(BaseModel):
    """Hold a group of the settings; only `Settings` is built."""

    # Off: a door that nobody comes by need not be there, and this one takes any key at first.
    compreface: bool = Field(
        default=False,
        description="Serve CompreFace's REST API too, at its own paths; see `deploy/migrate.md`.",
    )
    rekognition: bool = Field(
        default=False,
        description="Serve Amazon Rekognition's face operations too, as the AWS SDKs call them "
        "with `endpoint_url`; see `deploy/migrate.md`.",
    )
