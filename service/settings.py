"""All settings of the service: their variables, defaults and limits."""

import difflib
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
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
from models.photo import DetectorName, FacePolicy
from service.errors import InvalidSettings

PREFIX = "LIKENESS_"
# Read by the tests, not by the service.
_FOR_TESTS = frozenset({"LIKENESS_FACES"})

QualityGate = Literal["off", "warn", "refuse"]
Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
# In the form that browsers send. `*` is refused: every web page could then use the service.
Origin = Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.\[\]:-]+$")]
# A name as in the header Host, without the port; `*` allows every name.
HostName = Annotated[str, StringConstraints(pattern=r"^(\*|[A-Za-z0-9._:-]+)$", to_lower=True)]


def default_store() -> str:
    """Return the URL of the user's own database, the same in every folder.

    A file `data/likeness.db` of an earlier release is still used in its folder.
    """
    here = Path("data", "likeness.db")
    if here.is_file():
        return f"sqlite:///{here.absolute()}"
    data_home = os.environ.get("XDG_DATA_HOME", "")
    # The XDG Base Directory Specification says that a relative folder is ignored.
    folder = Path(data_home) if os.path.isabs(data_home) else Path.home() / ".local" / "share"
    return f"sqlite:///{folder / 'likeness' / 'likeness.db'}"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: `localhost` or an address of the loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """Hold all settings; built at the start of a program, never at import."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    # The gallery and the bundle

    store: str = Field(
        default_factory=default_store,
        repr=False,
        min_length=1,
        description="Database URL: `sqlite:///relative.db`, `sqlite:////absolute.db`, "
        "`sqlite:///:memory:` or `postgresql://user:password@host/database`. Unset: "
        "`data/likeness.db` if this file exists, otherwise `likeness/likeness.db` in the user's "
        "data folder, usually `~/.local/share`. The service and all commands use the same one.",
    )
    store_images: bool = Field(
        default=False,
        description="Keep the photo of each template, so that another bundle can embed it later.",
    )
    sweep_s: float = Field(
        default=3600.0,
        ge=1,
        le=86_400,
        description="Seconds between two erasures of expired templates. An expired template never "
        "matches, even before it is erased.",
    )
    bundle: str | None = Field(
        default=None,
        description="Bundle to serve: `sface`, `builtin`, `dlib` (an extra), a folder or a hub id. "
        "Unset: the bundle of the gallery, or the best installed one for an empty gallery.",
    )
    next_bundle: str | None = Field(
        default=None,
        description="Bundle that is to take over. Enrolments use it too, until `likeness switch` "
        "lets it serve.",
    )
    shadow: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of `/verify` requests that the bundle which does not serve decides "
        "again, after the answer and only for the metrics. Needs `LIKENESS_NEXT_BUNDLE`.",
    )
    operating_point: str | None = Field(
        default=None,
        max_length=64,
        description="Operating point of requests that name none, such as `fmr_1e-3`. Unset: the "
        "strictest one that is well measured and refuses at most 5 % of genuine comparisons, "
        "otherwise `fmr_1e-3`.",
    )

    # Where it listens, and which callers it answers

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port to listen on; 0 takes any free port."
    )
    api_key: SecretStr | None = Field(
        default=None, description="Key that the commands send to the service at `--url`."
    )
    without_keys: bool = Field(
        default=False,
        description="Never ask for an API key, not even when other machines can reach the "
        "service. `LIKENESS_ALLOWED_HOSTS` then limits the names it answers to.",
    )
    allowed_hosts: Annotated[tuple[HostName, ...], NoDecode] = Field(
        default=(),
        description="More names, separated by commas, by which a service without keys may be "
        "called, such as `faces.example.com`; `*` allows every name. A web page could otherwise "
        "let its own name lead to the service.",
    )
    behind_proxy: bool = Field(
        default=False,
        description="On the loopback and without keys, also answer requests that a proxy passes "
        "on. The proxy has to check its callers.",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = Field(
        default=(),
        description="Origins, separated by commas, whose web pages may call the service from a "
        "browser, such as `https://app.example.com`. Unset: none.",
    )

    # Photos and faces

    detector: DetectorName | None = Field(
        default=None,
        description="Face detector: `yunet`, `dlib` (an extra), or `none` for photos that are "
        "already cut to the face. Unset: the detector of the bundle.",
    )
    face_policy: FacePolicy = Field(
        default="single",
        description="`single` refuses a photo if a second face has at least a quarter of the area "
        "of the largest. `largest` uses the largest face, and the most central one of several "
        "that are about as large.",
    )
    min_face_px: int = Field(
        default=32,
        ge=0,
        le=4096,
        description="Shorter side of the smallest face that is accepted, in pixels.",
    )
    max_images: int = Field(default=32, ge=1, le=1024, description="Most images in one request.")
    max_bytes: int = Field(
        default=10 * 2**20, ge=1024, le=2**30, description="Most bytes of one image."
    )
    max_pixels: int = Field(
        default=50_000_000, ge=1024, le=10**9, description="Most pixels of one image."
    )
    max_request_pixels: int = Field(
        default=500_000_000,
        ge=1024,
        le=10**12,
        description="Most pixels decoded for one request. Of a large JPEG only as many are "
        "decoded as the face needs.",
    )

    # Enrolment

    enroll_quality: QualityGate = Field(
        default="refuse",
        description="What happens to photos of too poor quality: `refuse`, `warn`, or `off` for "
        "neither. A request may accept them.",
    )
    enroll_search: bool = Field(
        default=True,
        description="Search the gallery at each enrolment, and warn if another subject has the "
        "same face. It costs as much as `/identify`.",
    )
    require_consent: bool = Field(
        default=False, description="Refuse to enrol without `consent` and `purpose`."
    )

    # Liveness

    liveness_url: HttpUrl | None = Field(
        default=None,
        repr=False,
        description="URL of your own service that checks the `liveness_token` of a request: was "
        "a living person in front of the camera?",
    )
    liveness_required: bool = Field(
        default=False,
        description="Refuse to enrol, verify and identify without a `liveness_token`.",
    )
    liveness_timeout_s: float = Field(
        default=2.0,
        gt=0,
        le=60,
        description="Longest wait for `LIKENESS_LIVENESS_URL` in seconds; then 503.",
    )

    # Template protection

    master_keys: SecretStr | None = Field(
        default=None,
        description="Master keys of template protection, in base64, separated by spaces. The "
        "first one seals; all of them open. `likeness master-key new` makes one. Unset: templates "
        "are not sealed.",
    )
    master_keys_file: Path | None = Field(
        default=None, description="File with the master keys, such as a mounted secret."
    )
    master_keys_command: str | None = Field(
        default=None,
        repr=False,
        description="Command that prints the master keys, such as that of a key management "
        "service.",
    )

    # What computes

    device: Device = Field(
        default="auto",
        description="`auto`, `cpu`, `cuda` or `cuda:N`. `auto` uses a GPU if there is one.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="`auto`, `fp32` or `bf16`. `auto` is bf16 on devices that compute it natively.",
    )
    engine: EngineChoice = Field(
        default="auto",
        description="Library that runs the encoder: `torch`, `openvino` (on CPUs), `onnxruntime` "
        "(ONNX networks), or `auto`: the fastest for ONNX networks, `torch` for all others.",
    )
    max_batch: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Most faces in one forward pass. Unset: 8 on a CPU, 32 on a GPU.",
    )
    gather_ms: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="Milliseconds to wait for a fuller batch. For benchmarks; 0 is best.",
    )
    decode_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Threads that decode, detect and align. Unset: one per core.",
    )
    watchdog_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="A forward pass that takes more seconds than this counts as hung.",
    )
    weights: Path | None = Field(
        default=None,
        description="Folder with the files of YuNet and SFace, to use instead of the installed "
        "ones.",
    )
    yunet_path: Path | None = Field(
        default=None, description="File of YuNet; it overrides `LIKENESS_WEIGHTS`."
    )

    # How many requests, and how long they may take

    max_inflight: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Most requests with images at a time; others are answered 429.",
    )
    max_queue: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="Most faces that wait for the encoder. Unset: 8 x `max_batch`.",
    )
    queue_timeout_s: float = Field(
        default=2.0,
        gt=0,
        le=600,
        description="Longest wait for the encoder in seconds; then 504.",
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Longest time in seconds until work on the last photo of a request begins; "
        "then 504.",
    )
    max_body_bytes: int = Field(
        default=32 * 2**20,
        ge=1024,
        le=2**32,
        description="Most bytes of one request with photos. A request without photos may have at "
        "most 1 MiB.",
    )
    body_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Longest time in seconds for a body to arrive; then 408.",
    )
    header_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Longest time in seconds for the head of a request to arrive; then 408.",
    )
    keep_alive_s: int = Field(
        default=75,
        ge=1,
        le=3600,
        description="An idle connection is closed after so many seconds. A proxy in front should "
        "close it earlier.",
    )
    max_connections: int = Field(
        default=900,
        ge=8,
        le=10**6,
        description="Most connections at a time, or fewer if the system allows fewer file "
        "descriptors. One more closes the connection that has been idle, or has not been read, "
        "for the longest time.",
    )
    leave_s: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="Seconds at shutdown in which the service still accepts requests while "
        "`/readyz` answers 503, so that a load balancer notices.",
    )
    drain_s: float = Field(
        default=10.0,
        ge=0,
        le=3600,
        description="Seconds for running requests to finish at shutdown.",
    )

    # Pages, and interfaces of other products

    # On by default: without a key, the pages show only what is public anyway.
    ui: bool = Field(default=True, description="Serve web pages at `/ui`.")
    # Off by default: before the first key exists, these interfaces accept any key.
    compreface: bool = Field(
        default=False,
        description="Also serve the REST API of CompreFace, at its own paths; see "
        "`deploy/migrate.md`.",
    )
    rekognition: bool = Field(
        default=False,
        description="Also serve the face operations of Amazon Rekognition, as the AWS SDKs call "
        "them with `endpoint_url`; see `deploy/migrate.md`.",
    )

    # Logs and traces

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="`text`, or `json` with one object per line."
    )
    traces: bool | None = Field(
        default=None,
        description="Send OpenTelemetry traces; needs the extra `otel`. Unset: only if "
        "`OTEL_EXPORTER_OTLP_ENDPOINT` is set.",
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
        """Read arguments first, then the environment, and no files."""
        return init_settings, env_settings

    @field_validator("cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _environment_is_known(self) -> Self:
        # `extra="forbid"` does not look at the environment, so a misspelt variable would be silent.
        sentences = unknown_variables(os.environ)
        if sentences:
            raise ValueError(" ".join(sentences))
        return self

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.shadow and self.next_bundle is None:
            raise ValueError("LIKENESS_SHADOW needs LIKENESS_NEXT_BUNDLE.")
        if self.liveness_required and self.liveness_url is None:
            raise ValueError("LIKENESS_LIVENESS_REQUIRED needs LIKENESS_LIVENESS_URL.")
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
        """Return the number of threads that decode."""
        return self.decode_threads or os.cpu_count() or 1


def load_settings(**overrides: object) -> Settings:
    """Read the environment; arguments that are not None override it.

    Raises InvalidSettings with one line per mistake; it names variables and never their values.
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
    """Return one sentence for each variable with our prefix that is not a setting."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    sentences = []
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in known | _FOR_TESTS:
            continue
        near = difflib.get_close_matches(upper, sorted(known), n=1, cutoff=0.0)
        sentences.append(f"{name} is not a setting; did you mean {near[0]}?")
    return sentences
