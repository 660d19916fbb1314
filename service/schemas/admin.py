"""What callers get back about the audit log."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.decision import ConditionName, Outcome
from service.schemas.recognition import Answer, OperatingPointAnswer, RateAnswer


class EntryAnswer(Answer):
    number: int = Field(examples=[17], description="its place in the log, from 1")
    at: datetime = Field(examples=["2026-11-25T12:00:00Z"])
    action: str = Field(examples=["subject_deleted"])
    subject_sha256: str | None = Field(None, description="SHA-256 of the subject's name, UTF-8")
    key_id: str | None = Field(None, description="of the key it was asked for by")
    counts: dict[str, int] = Field(examples=[{"subjects": 1, "templates": 2}])
    previous: str = Field(description="digest of the entry before")
    digest: str = Field(description="SHA-256 of all of this entry")


class AuditAnswer(Answer):
    items: list[EntryAnswer]
    next: int | None = Field(None, description="pass as `after` to get the next page")


class ResealedAnswer(Answer):
    rewrapped: int = Field(description="keys that the current master key wraps now")
    sealed: int = Field(description="subjects that were stored in clear")
    left: int = Field(description="how many of both are left; ask again until there are none")


class DecisionPair(Answer):
    live: Outcome
    candidate: Outcome
    requests: int = Field(examples=[812])


class ShadowAnswer(Answer):
    compared: int = Field(
        examples=[1204],
        description="requests that both bundles decided, since this replica's start",
    )
    decisions: list[DecisionPair] = Field(description="how often each pair of decisions occurred")
    disagreement: RateAnswer | None = Field(
        description="share that they decided differently; none before the first"
    )
    dropped: dict[str, int] = Field(
        examples=[{"no_template": 3}], description="requests left out, by reason"
    )


class ChangeAnswer(Answer):
    serving: str = Field(description="fingerprint of the bundle that decides now")
    other: str = Field(description="fingerprint of the other one")
    lacking: int = Field(examples=[120], description="templates that the other one lacks")
    without_photo: int = Field(
        examples=[3], description="of these, templates whose photo the service did not keep"
    )
    shadow: ShadowAnswer | None = Field(
        None, description="what the other one would have decided; none if LIKENESS_SHADOW is 0"
    )


class LackingTemplate(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(examples=["passport-2026"])
    image_sha256: str = Field(description="of the photo's bytes")
    has_photo: bool = Field(description="the service kept the photo")


class LackingAnswer(Answer):
    items: list[LackingTemplate]
    next: int | None = Field(None, description="pass as `after` to get the next page")


class ReembeddedAnswer(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(examples=["passport-2026"])
    fingerprint: str = Field(description="of the bundle that has a template of the photo now")
    created: bool = Field(description="false if it had one before")


# A key has what it signs with, of which only this is told.
_IsSet = Annotated[bool, BeforeValidator(lambda value: value not in (None, False))]


class KeyAnswer(Answer):
    key_id: str = Field(examples=["0f4c2a9be8d15c73"], description="the part after lk_")
    name: str = Field(examples=["web shop"], description="whose key it is")
    scopes: list[str] = Field(examples=[["verify"]], description="what it is good for")
    per_s: float | None = Field(
        description="photos, and requests without any, a second at one replica; none: no limit"
    )
    at_once: int | None = Field(description="the same at a time; none: no limit")
    created_at: datetime = Field(examples=["2026-11-25T12:00:00Z"])
    revoked_at: datetime | None = Field(None, description="it counts no longer since then")
    signing: _IsSet = Field(False, description="it can sign requests as AWS' clients do")


class NewKeyAnswer(KeyAnswer):
    key: str = Field(repr=False, description="the key itself, which is shown only now")
    access_key_id: str | None = Field(
        None, examples=["lk_0f4c2a9be8d15c73"], description="to sign with: what names the key"
    )
    secret_access_key: str | None = Field(
        None, repr=False, description="to sign with: the rest of the key, which is shown only now"
    )


class KeysAnswer(Answer):
    items: list[KeyAnswer]


class BatchAnswer(Answer):
    limit: int = Field(examples=[8], description="largest batch that fits memory now")
    max_batch: int = Field(examples=[8])
    max_queue: int = Field(examples=[64])


class CurveAnswer(Answer):
    """Give both error rates at rising thresholds; the lists are of one length."""

    thresholds: list[float] = Field(examples=[[0.09, 0.1]], description="similarities")
    fmr: list[float] = Field(examples=[[0.01, 0.003]], description="false match rates")
    fnmr: list[float] = Field(examples=[[0.024, 0.042]], description="false non-match rates")
    genuine_pairs: int = Field(examples=[983], description="comparisons that the FNMR rests on")
    impostor_pairs: int = Field(examples=[1196396], description="and the FMR")
    errors_wanted: int = Field(
        examples=[30], description="a rate that rests on fewer errors is a guess"
    )


class GroupAnswer(Answer):
    """Give how often strangers of one group match at an operating point of everybody."""

    group: str = Field(examples=["age 0-12"])
    point: str = Field(examples=["fmr_1e-4"])
    images: int = Field(examples=[612], description="photos of the group")
    failure_to_enrol: float = Field(examples=[0.001])
    impostor_pairs: int = Field(examples=[186966], description="comparisons of strangers")
    fmr: RateAnswer | None
    fnmr: RateAnswer | None = Field(description="none where no photos of one person were compared")
    data: str = Field(description="what the photos are")


class ConditionAnswer(Answer):
    """Give what a condition does to decisions at an operating point."""

    condition: ConditionName | Literal["none"] = Field(
        description="put on both photos; `none`: the same photos as they are"
    )
    point: str = Field(examples=["fmr_1e-4"])
    impostor_pairs: int = Field(examples=[14707503], description="comparisons of strangers")
    fmr: RateAnswer
    match_rate: float | None = Field(
        examples=[0.78], description="share of comparisons of one person that match"
    )
    match_rate_one: float | None = Field(
        examples=[0.91], description="the same, where the condition is put on one photo alone"
    )
    data: str = Field(description="what the photos of strangers are")
    match_data: str = Field("", description="what the match rates were measured on")


class FusionAnswer(Answer):
    """Give both rates at an operating point where several photos of one person are fused."""

    probes: int = Field(examples=[3], description="photos sent")
    templates: int = Field(examples=[5], description="templates of the subject")
    point: str = Field(examples=["fmr_1e-4"])
    fmr: float = Field(examples=[0.00009])
    fnmr: float = Field(examples=[0.0004])
    genuine: int = Field(examples=[1720], description="comparisons of one person")
    impostor: int = Field(examples=[2924000], description="comparisons of two people")
    data: str = Field(description="what the photos are")


class CohortAnswer(Answer):
    """Say what scores are normalised by."""

    sha256: str = Field(description="changes whenever scores do")
    faces: int = Field(examples=[600], description="each the mean of several people")
    nearest: int = Field(examples=[10], description="of which so many count for a face")
    photos: str = Field(description="what they were made of")


class LicenceAnswer(Answer):
    part: Literal["detector", "encoder", "head"]
    network: str = Field(examples=["SFace 2021dec"])
    licence: str = Field(examples=["Apache-2.0"], description="of its weights, by SPDX")


class ModelAnswer(Answer):
    name: str = Field(examples=["sface"])
    chosen_because: str = Field(description="why this bundle is served")
    fingerprint: str = Field(description="changes whenever vectors stop being comparable")
    other_fingerprints: list[str] = Field(
        description="of a bundle that enrols beside this one, during a change of bundle"
    )
    dimension: int = Field(examples=[128])
    encoder: str = Field(description="kind of encoder")
    trained_on: str = Field(description="what it was trained on")
    not_good_for: str = Field(description="where it should not be trusted")
    calibrated_on: str | None = Field(description="photos that its error rates were measured on")
    accuracy: float | None = Field(None, examples=[0.987])
    failure_to_enrol: float | None = Field(None, examples=[0.001])
    operating_points: list[OperatingPointAnswer]
    default_operating_point: str | None = Field(description="used when a request names none")
    curve: CurveAnswer | None = Field(None, description="none if the bundle brings none")
    cohort: CohortAnswer | None = Field(
        None, description="none if scores of the bundle are plain cosines"
    )
    quality: str | None = Field(
        None, description="what the learned judge of photos learned from; none if there is none"
    )
    groups: list[GroupAnswer] = Field(default=[], description="false matches by group of people")
    conditions: list[ConditionAnswer] = Field(
        default=[], description="what blur, masks and so on do to the rates"
    )
    fusion: list[FusionAnswer] = Field(
        default=[], description="what more photos are worth, at the same thresholds"
    )
    detector: str = Field(examples=["yunet"], description="what finds faces")
    licences: list[LicenceAnswer] = Field(description="of every network that is used")
    device: str = Field(description="what computes")
    engine: str = Field(examples=["torch"], description="what runs the encoder")
    precision: str = Field(description="number format of the encoder")
    batch: BatchAnswer
    liveness: Literal["none"] = Field("none", description="photos of photos are not detected")


class Health(Answer):
    status: Literal["ok"] = "ok"
    damaged: int = Field(
        0, description="values in the store that cannot be read and are left out, as far as was met"
    )
