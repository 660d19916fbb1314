"""What an enrolment answers: what became of every photo, and what speaks against it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from models.decision import OperatingPoint
from models.errors import LikenessError
from service.schemas.answers import Answer, CandidateAnswer, FaceAnswer, Liveness, ProblemAnswer

if TYPE_CHECKING:
    from service.pipeline.pipeline import Probe


class DuplicateCheckAnswer(Answer):
    operating_point: str = Field(examples=["fmr_1e-5"], description="chosen by the gallery's size")
    threshold: float = Field(examples=[0.223], description="a possible duplicate from here on")
    gallery: int = Field(examples=[120], description="templates searched, at most")
    fpir_bound: float = Field(
        examples=[0.0011],
        description="chance that a photo of somebody new gets the warning, at most: FMR times "
        "templates",
    )

    @classmethod
    def of(cls, point: OperatingPoint, gallery: int) -> Self:
        return cls(
            operating_point=point.name,
            threshold=point.threshold,
            gallery=gallery,
            fpir_bound=min(1.0, point.fmr.value * gallery),
        )

    def warning(self) -> ProblemAnswer:
        """Return the warning for a photo that resembles another subject."""
        return ProblemAnswer(
            code="possible_duplicate",
            detail=f"Another subject has this face: a similarity of {self.threshold:.3f} or more, "
            f"by mistake in at most {self.fpir_bound:.2%} of enrolments.",
            advice="Find out whether one person is enrolled under two names.",
        )


class EnrolledImage(Answer):
    image: int = Field(examples=[0], description="position among the images sent")
    status: Literal["enrolled", "already_enrolled", "failed"]
    template_id: str | None = Field(None, examples=["passport-2026"])
    face: FaceAnswer | None = None
    problem: ProblemAnswer | None = None
    warnings: list[ProblemAnswer] = Field(
        default=[],
        description="what speaks against a photo that is enrolled all the same: `low_quality`, "
        "`inconsistent` or `possible_duplicate`",
    )
    possible_duplicates: list[CandidateAnswer] = Field(
        default=[],
        description="other subjects with the same face, best first; named only where the key "
        "may identify or administer",
    )

    @classmethod
    def of(
        cls,
        image: int,
        probe: "Probe",
        template_id: str,
        *,
        created: bool,
        warnings: Sequence[ProblemAnswer],
        possible_duplicates: Sequence[CandidateAnswer],
    ) -> Self:
        return cls(
            image=image,
            status="enrolled" if created else "already_enrolled",
            template_id=template_id,
            face=FaceAnswer.of(probe),
            warnings=list(warnings),
            possible_duplicates=list(possible_duplicates),
        )

    @classmethod
    def failed(cls, image: int, error: LikenessError) -> Self:
        return cls(image=image, status="failed", problem=ProblemAnswer.of(error))


class EnrollAnswer(Answer):
    subject: str = Field(examples=["ada"])
    images: list[EnrolledImage]
    liveness: Liveness = Field(
        "not_checked", description="`passed` if a liveness_token was sent and found good"
    )
    fingerprint: str = Field(examples=["5ff4a49eee64..."], description="of the bundle that decided")
    duplicate_check: DuplicateCheckAnswer | None = Field(
        None, description="none if nothing was searched: by the settings, or without points"
    )
