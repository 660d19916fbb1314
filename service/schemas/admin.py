"""The answers about the audit log, keys, a change of bundle, and the model."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.decision import ConditionName, Outcome
from service.schemas.recognition import Answer, OperatingPointAnswer, RateAnswer


class EntryAnswer(Answer):
    number: int = Field(examples=[17], description="position in the log, from 1")
    at: datetime = Field(examples=["2026-11-25T12:00:00Z"])
    action: str = Field(examples=["subject_deleted"])
    subject_sha256: str | None = Field(None, description="SHA-256 of the subject's name, UTF-8")
    key_id: str | None = Field(None, description="id of the key that the request was made with")
    counts: dict[str, int] = Field(examples=[{"subjects": 1, "templates": 2}])
    previous: str = Field(description="digest of the previous entry")
    digest: str = Field(description="SHA-256 of this whole entry")


class AuditAnswer(Answer):
    items: list[EntryAnswer]
    next: int | None = Field(None, description="pass as `after` to get the next page")


class ResealedAnswer(Answer):
    rewrapped: int = Field(
        description="number of keys that are now wrapped with the current master key"
    )
    sealed: int = Field(
        description="number of subjects that were stored in clear and are now encrypted"
    )
    left: int = Field(description="number of both that are left; repeat the request until it is 0")


class DecisionPair(Answer):
    live: Outcome
    candidate: Outcome
    requests: int = Field(examples=[812])


class ShadowAnswer(Answer):
    compared: int = Field(
        examples=[1204],
        description="requests that both bundles decided since this replica started",
    )
    decisions: list[DecisionPair] = Field(description="how often each pair of decisions occurred")
    disagreement: RateAnswer | None = Field(
        description="share of requests that they decided differently; null before the first"
    )
    dropped: dict[str, int] = Field(
        examples=[{"no_template": 3}], description="requests left out, by reason"
    )


class ChangeAnswer(Answer):
    serving: str = Field(description="fingerprint of the bundle that decides now")
    other: str = Field(description="fingerprint of the other bundle")
    lacking: int = Field(
        examples=[120], description="number of templates that the other bundle lacks"
    )
    without_photo: int = Field(
        examples=[3], description="how many of these have a photo that the service did not keep"
    )
    shadow: ShadowAnswer | None = Field(
        None, description="what the other bundle decided; null if LIKENESS_SHADOW is 0"
    )


class LackingTemplate(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(examples=["passport-2026"])
    image_sha256: str = Field(description="SHA-256 of the photo's bytes")
    has_photo: bool = Field(description="true if the service kept the photo")


class LackingAnswer(Answer):
    items: list[LackingTemplate]
    next: int | None = Field(None, description="pass as `after` to get the next page")


class ReembeddedAnswer(Answer):
    subject: str = Field(examples=["ada"])
    template_id: str = Field(examples=["passport-2026"])
    fingerprint: str = Field(description="fingerprint of the bundle that made the template")
    created: bool = Field(description="false if that bundle had this template before")


# The answer says only whether a signing secret is stored, and never contains it.
_IsSet = Annotated[bool, BeforeValidator(lambda value: value not in (None, False))]


class KeyAnswer(Answer):
    key_id: str = Field(examples=["0f4c2a9be8d15c73"], description="the part after lk_")
    name: str = Field(examples=["web shop"], description="the owner of the key")
    scopes: list[str] = Field(
        examples=[["verify"]], description="what requests with the key may do"
    )
    per_s: float | None = Field(
        description="most requests a second at one replica; a photo counts as one; null: no limit"
    )
    at_once: int | None = Field(
        description="most requests at the same time, counted likewise; null: no limit"
    )
    created_at: datetime = Field(examples=["2026-11-25T12:00:00Z"])
    revoked_at: datetime | None = Field(None, description="the key is invalid since this time")
    signing: _IsSet = Field(False, description="true if it can sign requests as AWS' clients do")


class NewKeyAnswer(KeyAnswer):
    key: str = Field(repr=False, description="the key itself, which only this answer shows")
    access_key_id: str | None = Field(
        None, examples=["lk_0f4c2a9be8d15c73"], description="names the key in a signed request"
    )
    secret_access_key: str | None = Field(
        None, repr=False, description="signs requests; only this answer shows it"
    )


class KeysAnswer(Answer):
    items: list[KeyAnswer]


class BatchAnswer(Answer):
    limit: int = Field(examples=[8], description="largest batch that fits in memory now")
    max_batch: int = Field(examples=[8])
    max_queue: int = Field(examples=[64])


class CurveAnswer(Answer):
    """Give both error rates at rising thresholds; the lists are of one length."""

    thresholds: list[float] = Field(examples=[[0.09, 0.1]], description="similarities")
    fmr: list[float] = Field(examples=[[0.01, 0.003]], description="false match rates")
    fnmr: list[float] = Field(examples=[[0.024, 0.042]], description="false non-match rates")
    genuine_pairs: int = Field(
        examples=[983], description="comparisons of one person that the FNMR rests on"
    )
    impostor_pairs: int = Field(
        examples=[1196396], description="comparisons of two people that the FMR rests on"
    )
    errors_wanted: int = Field(
        examples=[30], description="a rate that rests on fewer errors is unreliable"
    )


class GroupAnswer(Answer):
    """Give the error rates of one group of people at an operating point."""

    group: str = Field(examples=["age 0-12"])
    point: str = Field(examples=["fmr_1e-4"])
    images: int = Field(examples=[612], description="number of photos of the group")
    failure_to_enrol: float = Field(examples=[0.001])
    impostor_pairs: int = Field(examples=[186966], description="comparisons of strangers")
    fmr: RateAnswer | None
    fnmr: RateAnswer | None = Field(description="null if no two photos of one person were compared")
    data: str = Field(description="the photos that it was measured on")


class ConditionAnswer(Answer):
    """Give the error rates at an operating point for photos with a condition."""

    condition: ConditionName | Literal["none"] = Field(
        description="condition of both photos; `none`: the same photos, unchanged"
    )
    point: str = Field(examples=["fmr_1e-4"])
    impostor_pairs: int = Field(examples=[14707503], description="comparisons of strangers")
    fmr: RateAnswer
    match_rate: float | None = Field(
        examples=[0.78], description="share of comparisons of one person that match"
    )
    match_rate_one: float | None = Field(
        examples=[0.91], description="the same if only one of the two photos has the condition"
    )
    data: str = Field(description="the photos of strangers that the FMR was measured on")
    match_data: str = Field("", description="the photos that the match rates were measured on")


class FusionAnswer(Answer):
    """Give both error rates at an operating point if several photos of one person are fused."""

    probes: int = Field(examples=[3], description="number of photos sent")
    templates: int = Field(examples=[5], description="number of templates of the subject")
    point: str = Field(examples=["fmr_1e-4"])
    fmr: float = Field(examples=[0.00009])
    fnmr: float = Field(examples=[0.0004])
    genuine: int = Field(examples=[1720], description="comparisons of one person")
    impostor: int = Field(examples=[2924000], description="comparisons of two people")
    data: str = Field(description="the photos that it was measured on")


class CohortAnswer(Answer):
    """Describe the cohort that scores are normalised by."""

    sha256: str = Field(description="changes if the scores change")
    faces: int = Field(
        examples=[600], description="number of faces, each the mean of several people"
    )
    nearest: int = Field(
        examples=[10], description="number of the most similar ones that count for a face"
    )
    photos: str = Field(description="the photos that they were made of")


class LicenceAnswer(Answer):
    part: Literal["detector", "encoder", "head"]
    network: str = Field(examples=["SFace 2021dec"])
    licence: str = Field(
        examples=["Apache-2.0"], description="licence of its weights, SPDX identifier"
    )


class ModelAnswer(Answer):
    name: str = Field(examples=["sface"])
    chosen_because: str = Field(description="why this bundle is served")
    fingerprint: str = Field(description="vectors of different fingerprints cannot be compared")
    other_fingerprints: list[str] = Field(
        description="fingerprint of the other bundle that enrols too, during a change of bundle"
    )
    dimension: int = Field(examples=[128])
    encoder: str = Field(description="kind of encoder")
    trained_on: str = Field(description="the data that it was trained on")
    not_good_for: str = Field(description="uses for which it should not be trusted")
    calibrated_on: str | None = Field(
        description="the photos that its error rates were measured on"
    )
    accuracy: float | None = Field(None, examples=[0.987])
    failure_to_enrol: float | None = Field(None, examples=[0.001])
    operating_points: list[OperatingPointAnswer]
    default_operating_point: str | None = Field(description="applies if a request names none")
    curve: CurveAnswer | None = Field(None, description="null if the bundle has none")
    cohort: CohortAnswer | None = Field(
        None, description="null if scores of the bundle are plain cosines"
    )
    quality: str | None = Field(
        None, description="the data that the quality head was trained on; null if there is none"
    )
    groups: list[GroupAnswer] = Field(default=[], description="error rates by group of people")
    conditions: list[ConditionAnswer] = Field(
        default=[], description="error rates with blur, masks and so on"
    )
    fusion: list[FusionAnswer] = Field(
        default=[], description="error rates with several photos, at the same thresholds"
    )
    detector: str = Field(examples=["yunet"], description="the network that finds faces")
    licences: list[LicenceAnswer] = Field(description="the licence of every network that is used")
    device: str = Field(description="the device that runs the encoder")
    engine: str = Field(examples=["torch"], description="the library that runs the encoder")
    precision: str = Field(description="number format of the encoder")
    batch: BatchAnswer
    liveness: Literal["none"] = Field(
        "none", description="the model does not detect photos of photos"
    )


class Health(Answer):
    status: Literal["ok"] = "ok"
    damaged: int = Field(0, description="number of stored values found so far that cannot be read")
