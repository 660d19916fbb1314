"""The settings of what is stored: by which keys it is sealed, and on what ground it is there."""

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr


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
