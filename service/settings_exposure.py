"""The settings of what strangers meet: connections, browsers, and who is asked if they live."""

from typing import Annotated, Self

from pydantic import (
    BaseModel,
    Field,
    HttpUrl,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

# As browsers write it. `*` is none: with it every page could use a service on the loopback.
Origin = Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.\[\]:-]+$")]
# As in the header Host, but for the port; `*` is any.
HostName = Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z0-9._:-]+)$", to_lower=True)]


class ExposureSettings(BaseModel):
    """Hold a group of the settings; only `Settings` is built."""

    header_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Longest time for a request's head to arrive; then 408.",
    )
    keep_alive_s: int = Field(
        default=75,
        ge=1,
        le=3600,
        description="An idle connection is closed after that; what is in front should give up "
        "first.",
    )
    max_connections: int = Field(
        default=900,
        ge=8,
        le=10**6,
        description="Most connections at a time, a file descriptor each, and fewer where the "
        "system allows too few; one more ends the one that is idle or not read longest.",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = Field(
        default=(),
        description="Origins, with commas between, whose pages may call from a browser, such as "
        "`https://app.example.com`. Unset: none.",
    )
    allowed_hosts: Annotated[tuple[HostName, ...], NoDecode] = Field(
        default=(),
        description="Names, with commas between, that a service which asks for no key may be "
        "called by, such as `faces.example.com`, besides those of its machine; `*` is any. A page "
        "in a browser can make its own name lead here.",
    )
    behind_proxy: bool = Field(
        default=False,
        description="Without a key, serve on the loopback also what a proxy passes on: it checks "
        "who calls.",
    )
    # On: without a key its pages show nothing that a stranger could not download elsewhere.
    ui: bool = Field(default=True, description="Serve pages for people at `/ui`.")
    liveness_url: HttpUrl | None = Field(
        default=None,
        repr=False,
        description="Service of yours that tells by a request's `liveness_token` whether a living "
        "person was before the camera.",
    )
    liveness_required: bool = Field(
        default=False,
        description="Refuse to enrol, verify and identify without a `liveness_token`.",
    )
    liveness_timeout_s: float = Field(
        default=2.0, gt=0, le=60, description="Longest wait for `LIKENESS_LIVENESS_URL`; then 503."
    )

    @field_validator("cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        return given.replace(",", " ").split() if isinstance(given, str) else given

    @model_validator(mode="after")
    def _liveness_can_be_asked_for(self) -> Self:
        if self.liveness_required and self.liveness_url is None:
            raise ValueError("LIKENESS_LIVENESS_REQUIRED needs LIKENESS_LIVENESS_URL.")
        return self
