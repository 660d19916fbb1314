"""Check, before anything is computed, that a command can write its results."""

import os
from pathlib import Path

from service.cli.terminal import fail


def check_folder(folder: Path) -> None:
    """Exit unless this is a folder that can be written to, or can be made."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        fail(f"{folder} cannot be written: {nearest} is not a folder that can be written to.")


def check_file(file: Path) -> None:
    """Exit unless a file can be written here; it may replace an earlier one."""
    if file.is_dir():
        fail(f"{file} is a folder, not a file that can be written.")
    check_folder(file.parent)


def check_new(folder: Path) -> None:
    """Exit unless a new folder can be made here."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        fail(f"{folder} exists already: name a new folder with --out, or remove it first.")
    check_folder(folder)


def check_bundle_named(write: bool, bundle: str | None) -> None:
    """Exit if a bundle is to be changed, but none is named."""
    if write and bundle is None:
        fail("Name the bundle to change with --bundle, or a folder for a copy with --out.")


def check_target(write: bool, out_folder: Path | None, bundle: str | None) -> None:
    """Exit unless either the bundle itself or a new folder is named for the result."""
    check_bundle_named(write, bundle)
    if write == (out_folder is not None):
        fail("Name a folder for a copy of the bundle with --out, or change it with --write.")
    if out_folder is not None:
        check_new(out_folder)
