"""Where a command may write: told before anything is computed."""

import os
from pathlib import Path

from service.cli.terminal import fail


def check_folder(folder: Path) -> None:
    """Stop if this is no folder that can be written to, and cannot become one."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        fail(f"{folder} cannot be written: {nearest} is no folder that can be written to.")


def check_file(file: Path) -> None:
    """Stop if no file can be written here, in place of an earlier one perhaps."""
    if file.is_dir():
        fail(f"{file} is a folder, not a file that can be written.")
    check_folder(file.parent)


def check_free(folder: Path) -> None:
    """Stop if this cannot become a new folder."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        fail(f"{folder} exists already: name a new folder by --out, or remove it first.")
    check_folder(folder)


def check_named(write: bool, bundle: str | None) -> None:
    """Stop if a bundle is to be changed and it is not said which."""
    if write and bundle is None:
        fail("Name the bundle that is to be changed by --bundle, or a folder for a copy by --out.")


def check_target(write: bool, out_folder: Path | None, bundle: str | None) -> None:
    """Stop unless it is said where a changed bundle belongs: in itself or in a new folder."""
    check_named(write, bundle)
    if write == (out_folder is not None):
        fail("Name a folder for a copy of the bundle by --out, or say --write.")
    if out_folder is not None:
        check_free(out_folder)
