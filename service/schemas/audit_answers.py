"""What callers get back about the audit log."""

from datetime import datetime

from pydantic import Field

from service.schemas.answers import Answer


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
