"""Every metric there is: its name, what it means and by what it is told apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Described:
    """Say what a metric means; each of its `labels` has few values."""

    meaning: str
    labels: tuple[str, ...] = ()


# What /metrics shows, in the order of the way of a request.
CATALOGUE: Final[Mapping[str, Described]] = MappingProxyType(
    {
        "likeness_requests_total": Described("Requests answered.", ("route", "code")),
        "likeness_problems_total": Described(
            "Requests refused or failed, by the problem's code.", ("problem",)
        ),
        "likeness_request_seconds": Described(
            "Time from the first byte of a request to its answer.", ("route",)
        ),
        "likeness_inflight": Described("Requests that hold a permit now."),
        "likeness_stage_seconds": Described("Time spent in each stage of the flow.", ("stage",)),
        "likeness_faces_found": Described("Faces seen in an image."),
        "likeness_quality": Described(
            "Sharpness, brightness, size in pixels and misfit of the faces embedded.", ("measure",)
        ),
        "likeness_queue_depth": Described("Faces that wait for the encoder now."),
        "likeness_batch_size": Described("Faces in a forward pass."),
        "likeness_batch_seconds": Described("Time of a forward pass."),
        "likeness_batch_limit": Described("Most faces in one forward pass, as memory allows now."),
        "likeness_batch_failures_total": Described("Forward passes that failed.", ("reason",)),
        "likeness_jobs_dropped_total": Described(
            "Faces that left the queue without an answer.", ("reason",)
        ),
        "likeness_score": Described("Similarities that were decided on."),
        "likeness_score_margin": Described(
            "Similarities that were decided on, less the threshold they had to reach."
        ),
        "likeness_decisions_total": Described("Decisions.", ("decision",)),
        "likeness_enrolment_refusals_total": Described("Photos refused as templates.", ("reason",)),
        "likeness_enrolment_warnings_total": Described(
            "Doubts about photos that were enrolled.", ("reason",)
        ),
        "likeness_liveness_total": Described("Liveness checks.", ("outcome",)),
        "likeness_connections_ended_total": Described(
            "Connections ended without an answer to a request.", ("reason",)
        ),
        "likeness_shadow_decisions_total": Described(
            "Decisions of the live bundle beside those of the other one on the same photos.",
            ("live", "candidate"),
        ),
        "likeness_shadow_score": Described(
            "Similarities by both bundles on the same photos, by fingerprint.", ("bundle",)
        ),
        "likeness_shadow_seconds": Described("Time of a decision by the other bundle."),
        "likeness_shadow_dropped_total": Described(
            "Requests chosen for the other bundle that it did not decide.", ("reason",)
        ),
        "likeness_store_seconds": Described(
            "Time of an operation of the store, failed ones included.", ("operation",)
        ),
        "likeness_store_up": Described("1 if the store answered when the metrics were asked for."),
        "likeness_templates": Described("Templates in the store, when it last answered."),
        "likeness_damaged_values": Described(
            "Values in the store that cannot be read and are left out, as far as was met."
        ),
        "likeness_swept_timestamp_seconds": Described(
            "When everything that had expired was erased last, Unix time."
        ),
        "likeness_ready": Described("1 if `/readyz` would answer 200."),
        "likeness_loop_lag_seconds": Described("How late the event loop wakes up."),
        "likeness_build_info": Described(
            "1 for each bundle that is loaded, and what runs it.",
            ("version", "bundle", "fingerprint", "device", "engine", "precision"),
        ),
    }
)
