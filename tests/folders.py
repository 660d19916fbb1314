"""Folders as storage systems, phones and strangers leave them."""

import os
from pathlib import Path

from tests.photos import photo_bytes

# What is no person, though photos lie in it.
SYSTEM = ("@eaDir", "lost+found", ".thumbnails", "__MACOSX", "#recycle", "$RECYCLE.BIN", ".Trashes")


def write_hostile(folder: Path) -> Path:
    """Write people/ as found in the wild, and what links lead to beside it.

    Four people can be had: ada; grace, who is a link; Cyd, whose photo has an upper-case suffix;
    and `a[`, whose photos are named so that a terminal, its markup or a spreadsheet obeys them.
    """
    people = folder / "people"
    photo = photo_bytes("grace")
    for name in ("ada", *SYSTEM, "a[", "Cyd", "empty"):
        (people / name).mkdir(parents=True)
    for name in SYSTEM:
        (people / name / "thumb.jpg").write_bytes(photo)
    (people / "ada" / "1.jpg").write_bytes(photo)
    (people / "ada" / "._1.jpg").write_bytes(b"\0\5\26\7")
    (people / "ada" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (people / "ada" / "@eaDir").mkdir()
    (people / "ada" / "@eaDir" / "1.jpg").write_bytes(photo)
    (people / "ada" / "notes.txt").write_text("no photo")
    (people / "ada" / "scan").write_bytes(photo)  # a photo by content
    (people / "a[" / "b].jpg").write_bytes(photo)
    (people / "a[" / "=cmd|'.jpg").write_bytes(photo)
    (people / "a[" / "\x1b]0;title\x07.jpg").write_bytes(photo)
    (people / "Cyd" / "1.JPG").write_bytes(photo)
    (people / "nobody.jpg").write_bytes(photo)
    unnamed = os.fsencode(people) + b"/caf\xe9"
    os.mkdir(unnamed)
    Path(os.fsdecode(unnamed), "1.jpg").write_bytes(photo)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "1.jpg").write_bytes(photo)
    (people / "grace").symlink_to(folder / "elsewhere")
    (people / "grace again").symlink_to(folder / "elsewhere")
    (people / "ada" / "loop").symlink_to(people)
    (people / "above").symlink_to(folder)
    (people / "ada" / "gone.jpg").symlink_to(folder / "gone.jpg")
    os.mkfifo(people / "ada" / "pipe.jpg")
    return people
