"""Read the bytes of photos that are given as bytes, as paths or as open files."""

from os import PathLike
from pathlib import Path
from typing import BinaryIO

from service.schemas.recognition import ProblemAnswer

AnyPath = str | PathLike[str]
Photo = bytes | AnyPath | BinaryIO


def read_photo(photo: Photo) -> bytes:
    """Return the bytes of a photo. Raises OSError if its file cannot be read."""
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | PathLike):
        return _read(Path(photo))
    return photo.read()


def read_file(path: Path) -> bytes | ProblemAnswer:
    """Return the bytes of a photo file, or the problem if it cannot be read."""
    try:
        return _read(path)
    except OSError as error:
        return unreadable(error.strerror or "The file cannot be read.")


def unreadable(sentence: str) -> ProblemAnswer:
    """Return the problem of a photo that was not sent, since there are no bytes to send."""
    from models.datasets.tables import UNREADABLE

    return ProblemAnswer(code=UNREADABLE, detail=sentence)


def is_text(name: str) -> bool:
    """Tell whether a name is UTF-8, so that it can be sent to a service."""
    from models.datasets import folders

    return folders.is_text(name)


def _read(path: Path) -> bytes:
    from models.datasets.folders import read_photo_file

    return read_photo_file(path)
