"""The master keys that encrypt the store, from the environment, a file or a command."""

import base64
import binascii
import secrets
import subprocess
from pathlib import Path

from service.errors import InvalidSettings
from service.settings import Settings
from service.store.vault import KEY_BYTES, Vault

# A start must not wait for ever for a key management service that does not answer.
_COMMAND_TIMEOUT_S = 30.0


def open_vault(settings: Settings) -> Vault:
    """Return a vault with the master keys of the settings, or without any.

    Raises InvalidSettings; no error repeats a key, or the output of a command.
    """
    sources = {
        "LIKENESS_MASTER_KEYS": settings.master_keys,
        "LIKENESS_MASTER_KEYS_FILE": settings.master_keys_file,
        "LIKENESS_MASTER_KEYS_COMMAND": settings.master_keys_command,
    }
    names = [name for name, value in sources.items() if value is not None]
    if len(names) > 1:
        raise InvalidSettings(
            f"Master keys must come from one setting, but {' and '.join(names)} are set."
        )
    if settings.master_keys is not None:
        return Vault(read_keys(settings.master_keys.get_secret_value(), names[0]))
    if settings.master_keys_file is not None:
        return Vault(read_keys(_of_file(settings.master_keys_file), names[0]))
    if settings.master_keys_command is not None:
        return Vault(read_keys(_of_command(settings.master_keys_command), names[0]))
    return Vault()


def new_master_key() -> str:
    """Return a new master key: 32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def read_keys(text: str, source: str) -> list[bytes]:
    """Read base64 keys separated by blanks; lines that begin with # are comments.

    Raises InvalidSettings.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = " ".join(lines).split()
    if not words:
        raise InvalidSettings(
            f"{source} holds no master key; make one with `likeness master-key new`."
        )
    try:
        keys = [base64.b64decode(word, validate=True) for word in words]
    except binascii.Error:
        keys = [b""]
    if any(len(key) != KEY_BYTES for key in keys):
        raise InvalidSettings(
            f"{source}: a master key is {KEY_BYTES} random bytes in base64, as `likeness "
            "master-key new` prints them. Separate several keys by blanks, the newest first."
        )
    return keys


def _of_file(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not ASCII text"
        raise InvalidSettings(f"LIKENESS_MASTER_KEYS_FILE cannot be read: {reason}.") from exc


def _of_command(command: str) -> str:
    """Run a command in a shell and return its output; its errors go to standard error."""
    try:
        process = subprocess.run(
            command, shell=True, stdout=subprocess.PIPE, timeout=_COMMAND_TIMEOUT_S, check=True
        )
        return process.stdout.decode("ascii")
    except subprocess.TimeoutExpired as exc:
        reason = f"took longer than {_COMMAND_TIMEOUT_S:g} s"
        raise InvalidSettings(f"LIKENESS_MASTER_KEYS_COMMAND {reason}.") from exc
    except subprocess.CalledProcessError as exc:
        raise InvalidSettings(
            f"LIKENESS_MASTER_KEYS_COMMAND ended with status {exc.returncode}."
        ) from exc
    except UnicodeDecodeError as exc:
        raise InvalidSettings("LIKENESS_MASTER_KEYS_COMMAND printed no ASCII text.") from exc
