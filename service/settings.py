"""Say once what can be set, from the environment, within which bounds."""

import difflib
import os
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    Field,
    HttpUrl,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from models.encoder import EngineChoice
from models.photo import DetectorName, Policy
from service.errors import InvalidSettings

QualityGate = Literal["off", "warn", "refuse"]


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


class ProtectionSettings(BaseModel):
    """Hold a group of the settings; only `Settings` is built."""

    master_keys: SecretStr | None = Field(
        default=None,
        description="Master keys of template protection, in base64 with blanks between: the first "
        "seals, all open. `likeness master-key new` makes one. Unset: nothing is sealed.",
    )
    master_keys_file: Path | None = Field(
        default=None, description="Or the file that holds them, such as a mounted secret."
    )
    master_keys_command: str | None = Field(
        default=None,
        repr=False,
        description="Or the command that prints them, such as one of a key management service.",
    )
    require_consent: bool = Field(
        default=False, description="Refuse to enrol without `consent` and `purpose`."
    )


class WatchingSettings(BaseModel):
    """Hold a group of the settings; only `Settings` is built."""

    log_format: Literal["text", "json"] = Field(
        default="text", description="`text`, or `json`, an object a line."
    )
    traces: bool | None = Field(
        default=None,
        description="Send OpenTelemetry traces, which takes the extra `otel`. Unset: where "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` says where to.",
    )
    shadow: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of `/verify` requests that the bundle which does not serve decides too, "
        "after the answer, for the metrics alone. Needs `LIKENESS_NEXT_BUNDLE`.",
    )


_OF_PROXIES: Final = frozenset({"forwarded", "via", "x-real-ip"})


def is_loopback(name: str) -> bool:
    """Tell whether a host is this machine and nothing else; other names are not trusted to be."""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_address(name: str) -> bool:
    """Tell whether a host is an IP address, which nobody can make lead elsewhere."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def host_of(headers: Iterable[str]) -> str:
    """Return the name in a request's one header Host, without a port; empty if there is none."""
    try:
        (host,) = headers
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
    return name.removesuffix(".")


def is_own_name(host: str, allowed: Collection[str] = ()) -> bool:
    """Tell whether a host is a name of the loopback, or one that is allowed; `*` allows all.

    Any page can have its own name lead to the loopback of who looks at it, and is then of the
    same origin as what answers there. A browser says which name it was, and asks nobody where
    names are that end in `localhost` (RFC 6761).
    """
    return is_loopback(host) or host.endswith(".localhost") or host in allowed or "*" in allowed


def is_passed_on(names: Iterable[str]) -> bool:
    """Tell by the names of a request's headers, in lower case, whether a proxy passed it on."""
    return any(name in _OF_PROXIES or name.startswith("x-forwarded-") for name in names)


PREFIX = "LIKENESS_"
# Set by who runs the tests, not by who runs the service.
_FOR_TESTS = frozenset({"LIKENESS_FACES"})

Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]


def default_store() -> str:
    """Return the URL of the user's own database: one place, wherever a command is run.

    A `data/likeness.db` of an earlier release goes on being used in its folder.
    """
    here = Path("data", "likeness.db")
    if here.is_file():
        return f"sqlite:///{here.absolute()}"
    named = os.environ.get("XDG_DATA_HOME", "")
    # By the specification of these folders, a relative one is ignored.
    folder = Path(named) if os.path.isabs(named) else Path.home() / ".local" / "share"
    return f"sqlite:///{folder / 'likeness' / 'likeness.db'}"


class Settings(
    ProtectionSettings, ExposureSettings, CompatSettings, WatchingSettings, BaseSettings
):
    """Hold what the service is told at start; built by who starts it, never at import."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    store: str = Field(
        default_factory=default_store,
        repr=False,
        min_length=1,
        description="Database URL: `sqlite:///relative.db`, `sqlite:////absolute.db`, "
        "`sqlite:///:memory:` or `postgresql://user:password@host/database`. Unset: "
        "`data/likeness.db` here if it is there, or else `likeness/likeness.db` in the user's data "
        "folder, `~/.local/share` mostly, for the service and all commands alike.",
    )
    bundle: str | None = Field(
        default=None,
        description="Bundle to serve: `sface`, `builtin`, `dlib` (an extra), a directory or a hub "
        "id. Unset: the one that made the gallery, or the best of those installed.",
    )
    next_bundle: str | None = Field(
        default=None,
        description="Bundle that is to take over: enrolments go through it too, until "
        "`likeness switch` lets it serve.",
    )
    operating_point: str | None = Field(
        default=None,
        max_length=64,
        description="Operating point of requests that name none, such as `fmr_1e-3`. Unset: the "
        "strictest that is well measured and refuses 5 % of genuine comparisons at most, or else "
        "`fmr_1e-3`.",
    )
    store_images: bool = Field(
        default=False,
        description="Keep the photo of each template, so that another bundle can embed it anew.",
    )
    device: Device = Field(
        default="auto", description="`auto`, `cpu`, `cuda` or `cuda:N`. `auto` takes a GPU if any."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="`auto`, `fp32` or `bf16`. `auto` is bf16 where the device does it natively.",
    )
    detector: DetectorName | None = Field(
        default=None,
        description="Face detector: `yunet`, `dlib` (an extra), or `none` for faces that are cut "
        "already. Unset: the bundle's own.",
    )
    weights: Path | None = Field(
        default=None,
        description="Folder that holds YuNet and SFace, to use instead of the installed files.",
    )
    yunet_path: Path | None = Field(
        default=None, description="YuNet's file itself, wherever the rest is."
    )
    engine: EngineChoice = Field(
        default="auto",
        description="What runs the encoder: `torch`, `openvino` (on CPUs), `onnxruntime` (ONNX "
        "networks), or `auto`: for ONNX networks the fastest, for all others `torch`.",
    )
    face_policy: Policy = Field(
        default="single",
        description="`single` refuses a photo with several faces if another has at least a "
        "quarter of the largest one's area; `largest` takes the largest, and of several alike the "
        "most central.",
    )
    min_face_px: int = Field(
        default=32, ge=0, le=4096, description="Shorter side of the smallest face taken, pixels."
    )
    enroll_quality: QualityGate = Field(
        default="refuse",
        description="What becomes of photos too poor to recognise anybody by: `refuse`, `warn`, "
        "or `off` for neither. A request may accept them.",
    )
    enroll_search: bool = Field(
        default=True,
        description="Search the gallery at each enrolment, and warn if another subject has the "
        "same face; costs what `/identify` does.",
    )
    max_batch: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Most faces in one forward pass. Unset: 8 on a CPU, 32 on a GPU.",
    )
    max_queue: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="Most faces that wait for the encoder. Unset: 8 x `max_batch`.",
    )
    max_inflight: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Most requests with images at a time; others get 429.",
    )
    decode_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Threads that decode, detect and align. Unset: one per core.",
    )
    queue_timeout_s: float = Field(
        default=2.0, gt=0, le=600, description="Longest wait for the encoder; then 504."
    )
    gather_ms: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="Wait for a fuller batch, milliseconds. For benchmarks; 0 is best.",
    )
    watchdog_s: float = Field(
        default=30.0, gt=0, le=3600, description="A forward pass longer than this counts as hung."
    )
    max_bytes: int = Field(
        default=10 * 2**20, ge=1024, le=2**30, description="Most bytes of one image."
    )
    max_body_bytes: int = Field(
        default=32 * 2**20,
        ge=1024,
        le=2**32,
        description="Most bytes of one request with photos; one without has at most 1 MiB.",
    )
    max_pixels: int = Field(
        default=50_000_000, ge=1024, le=10**9, description="Most pixels of one image."
    )
    max_request_pixels: int = Field(
        default=500_000_000,
        ge=1024,
        le=10**12,
        description="Most pixels decoded for one request; of a large JPEG, as few as the face "
        "needs.",
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Longest time until a request's last photo is begun with; then 504.",
    )
    max_images: int = Field(default=32, ge=1, le=1024, description="Most images in one request.")
    body_timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="Longest time for a body to arrive; then 408."
    )
    drain_s: float = Field(
        default=10.0, ge=0, le=3600, description="Time for running requests to finish at shutdown."
    )
    sweep_s: float = Field(
        default=3600.0,
        ge=1,
        le=86_400,
        description="How often templates that have expired are erased. They match no longer from "
        "the moment on, whatever this is.",
    )
    leave_s: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="Time at shutdown in which requests are still taken while `/readyz` answers "
        "503, for a load balancer to notice.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 is any free.")
    api_key: SecretStr | None = Field(
        default=None, description="Key that the commands show to the service at `--url`."
    )
    without_keys: bool = Field(
        default=False,
        description="Never ask for an API key, not even beyond the loopback; then "
        "`LIKENESS_ALLOWED_HOSTS` counts.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, and no files."""
        return init_settings, env_settings

    @model_validator(mode="after")
    def _environment_is_known(self) -> Self:
        # `extra="forbid"` does not cover the environment: a misspelt variable would be silent.
        wrong = unknown_variables(os.environ)
        if wrong:
            raise ValueError(" ".join(wrong))
        return self

    @model_validator(mode="after")
    def _shadow_has_a_bundle(self) -> Self:
        if self.shadow and self.next_bundle is None:
            raise ValueError("LIKENESS_SHADOW needs LIKENESS_NEXT_BUNDLE.")
        return self

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this machine can reach `host`."""
        return is_loopback(self.host)

    def batch_limit(self, gpu: bool) -> int:
        """Return the most faces in one forward pass."""
        return self.max_batch or (32 if gpu else 8)

    def queue_limit(self, gpu: bool) -> int:
        """Return the most faces that wait for the encoder."""
        return self.max_queue or 8 * self.batch_limit(gpu)

    def threads(self) -> int:
        """Return how many threads decode."""
        return self.decode_threads or os.cpu_count() or 1


def load_settings(**overrides: object) -> Settings:
    """Read the environment; arguments that are not None win over it.

    Raises InvalidSettings with one line per mistake, naming variables, never values.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate(given)
    except ValidationError as exc:
        lines = [
            f"{PREFIX}{str(error['loc'][0]).upper()}: {error['msg']}."
            if error["loc"]
            else error["msg"]
            for error in exc.errors(include_url=False, include_input=False)
        ]
        raise InvalidSettings("\n".join(lines)) from exc


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a sentence for each variable with our prefix that means nothing."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    sentences = []
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known | _FOR_TESTS:
            continue
        near = difflib.get_close_matches(upper, sorted(known), n=1, cutoff=0.0)
        sentences.append(f"{name} is not a setting; did you mean {near[0]}?")
    return sentences
