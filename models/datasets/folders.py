"""List the photos of a folder; every command that reads a folder uses this module."""

import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

from models.datasets.tables import UNREADABLE, RejectedFile
from models.errors import LikenessError

_OF_CAMERAS = (".jpg", ".jpeg", ".jfif", ".heic", ".heif", ".avif")
_OF_OTHERS = (".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
PHOTO_SUFFIXES = frozenset((*_OF_CAMERAS, *_OF_OTHERS))

# Files and folders that storage systems and desktops create. Hidden names count as such too.
_OF_SYSTEMS = frozenset(
    (
        *("@eadir", "@recycle", "@tmp", "@sharebin", "#recycle", "#snapshot"),
        *("@recently-snapshot", "lost+found", "__macosx", "$recycle.bin", "$recycle"),
        *("recycler", "recycled", "found.000", "@__thumb", "system volume information"),
        *("network trash folder", "temporary items"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    )
)
# The highest limit that a service can set for the bytes of an image.
_MOST_BYTES = 2**30
_LINK_IS_BROKEN: Final = "The link leads nowhere."


@dataclass(frozen=True, slots=True)
class FolderContents:
    """Hold what a folder and the folders below it contain, in a stable order.

    `photos` are photos by their suffix or, without a suffix, by their content. `others` are all
    other files. `unusable` are broken links, pipes and folders that cannot be read, by their path
    below the folder. `system` are hidden files and folders, and those of storage systems.
    `repeated` are links to folders that were read already. The last two are not searched.
    """

    folder: Path
    photos: list[Path]
    others: list[Path]
    unusable: list[RejectedFile]
    system: list[Path]
    repeated: list[Path]

    @property
    def files(self) -> list[Path]:
        """Return the photos and all other files."""
        return sorted((*self.photos, *self.others))

    def notes(self) -> list[str]:
        """Return a line for each kind of file that is skipped, with how many there are."""
        kinds = (
            (self.system, "hidden, or of a storage system"),
            (self.others, "not a photo by name or content"),
            (self.repeated, "a link to a folder that was read already"),
        )
        return [
            f"skipped  {len(paths):,} {what}, such as {min(paths)}"
            for paths, what in kinds
            if paths
        ]


def contents_of(folder: Path) -> FolderContents:
    """Read a folder and all folders below it, each of them once.

    Links are followed, except to a folder that was read already or that contains this folder.
    """
    walk = _Walk(folder)
    walk.run()
    return walk.contents()


def photos_in(folder: Path) -> list[Path]:
    """List the photo files below a folder in a stable order; raises LikenessError without any."""
    return require_photos(contents_of(folder)).photos


def require_photos(contents: FolderContents) -> FolderContents:
    """Return the contents; raises LikenessError if they include no photo."""
    if not contents.photos:
        raise LikenessError(describe_no_photos(contents))
    return contents


def describe_no_photos(contents: FolderContents) -> str:
    """Say that a folder contains no photo, and what it contains."""
    notes = "".join(f" {note}." for note in contents.notes())
    unusable = f" {contents.unusable[0].sentence}" if contents.unusable else ""
    suffixes = ", ".join(sorted(PHOTO_SUFFIXES))
    return f"{contents.folder} contains no photo: no file ends in {suffixes}.{unusable}{notes}"


def _is_system(name: str) -> bool:
    """Return whether a name is hidden, or is one that a storage system or a desktop uses."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def is_text(name: str) -> bool:
    """Return whether a name is UTF-8, so that it can be written to a table or sent to a service."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_file(path: Path) -> bool:
    """Return whether a path leads to a regular file; False also for impossible names."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero in it
        return False


def read_photo_file(path: Path) -> bytes:
    """Return the bytes of a photo; raises OSError, also if the path is not a regular file.

    Reading a pipe could wait for ever.
    """
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode):
            raise OSError(None, "This is not a regular file", str(path))
        if found.st_size > _MOST_BYTES:
            raise OSError(
                None,
                f"The file has {found.st_size:,} bytes; at most {_MOST_BYTES:,} are allowed.",
                str(path),
            )
        return path.read_bytes()
    except ValueError as exc:
        raise OSError(None, "No file can have this name.", str(path)) from exc


class _Walk:
    """Read folders one by one; follow links at the end, when all other folders are known."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entered: set[tuple[int, int]] = set()
        self._links: list[Path] = []
        self._photos: list[Path] = []
        self._others: list[Path] = []
        self._unusable: list[RejectedFile] = []
        self._system: list[Path] = []
        self._repeated: list[Path] = []

    def run(self) -> None:
        self._enter(self._root)
        above = self._root.resolve()
        while self._links:
            links, self._links = sorted(self._links), []
            for link in links:
                self._follow(link, above)

    def contents(self) -> FolderContents:
        return FolderContents(
            self._root,
            sorted(self._photos),
            sorted(self._others),
            sorted(self._unusable, key=lambda row: row.path),
            self._system,
            self._repeated,
        )

    def _enter(self, folder: Path) -> None:
        pending = [folder]
        while pending:
            current = pending.pop()
            try:
                found = current.stat()
                if self._is_known(found):
                    continue
                with os.scandir(current) as entries:
                    listed = list(entries)
            except OSError as error:
                self._fail(current, error.strerror or "The folder cannot be read.")
                continue
            for entry in listed:
                path = current / entry.name
                if _is_system(entry.name):
                    self._system.append(path)
                elif entry.is_symlink():
                    self._links.append(path)
                elif entry.is_dir():
                    pending.append(path)
                else:
                    self._take(path, entry.is_file())

    def _is_known(self, found: os.stat_result) -> bool:
        """Return whether a folder was read before, and remember that it is read now."""
        identity = (found.st_dev, found.st_ino)
        known = identity in self._entered
        self._entered.add(identity)
        return known

    def _follow(self, link: Path, above: Path) -> None:
        try:
            found = link.stat()
        except OSError:
            self._fail(link, _LINK_IS_BROKEN)
            return
        if not S_ISDIR(found.st_mode):
            self._take(link, S_ISREG(found.st_mode))
        elif (found.st_dev, found.st_ino) in self._entered or above.is_relative_to(link.resolve()):
            self._repeated.append(link)
        else:
            self._enter(link)

    def _take(self, path: Path, is_regular: bool) -> None:
        if not is_regular:
            self._fail(path, "This is a pipe, a socket or a device, not a file.")
        elif path.suffix.lower() in PHOTO_SUFFIXES or (not path.suffix and _is_photo(path)):
            self._photos.append(path)
        else:
            self._others.append(path)

    def _fail(self, path: Path, sentence: str) -> None:
        name = "." if path == self._root else path.relative_to(self._root).as_posix()
        self._unusable.append(RejectedFile(name, UNREADABLE, sentence))


def _is_photo(path: Path) -> bool:
    from models.photo.image import begins_as_photo  # loads decoders, which are seldom needed here

    try:
        with path.open("rb") as file:
            return begins_as_photo(file.read(64))
    except OSError:
        return False
