"""The settings of what operators see: logs, traces, and a bundle that decides on the quiet."""

from typing import Literal

from pydantic import BaseModel, Field


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
