"""What callers get back about API keys."""

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

from service.schemas.answers import Answer

# A key has what it signs with, of which only this is told.
_Has = Annotated[bool, BeforeValidator(lambda value: value not in (None, False))]


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
    signing: _Has = Field(False, description="it can sign requests as AWS' clients do")


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
