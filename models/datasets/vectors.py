"""Write vectors into a folder of part files, with a list of the files that were rejected.

A run can be killed at any time: every file is written completely or not at all, and the next run
goes on from there.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.datasets.atomic import atomic_write
from models.datasets.tables import RejectedFile, read_rejected, write_rejected
from models.errors import LikenessError

if TYPE_CHECKING:
    from models.photo.face import Box

Format = Literal["parquet", "npz"]


@dataclass(frozen=True, slots=True)
class VectorOrigin:
    """Say which bundle made vectors, and their length; only one fingerprint fits one folder."""

    bundle: str
    fingerprint: str
    dimension: int


@dataclass(frozen=True, slots=True)
class VectorRow:
    """Hold the `vector` `(d,)` float32 of unit length of the photo `path`, and where its face is.

    `sha256` is that of the file, `score` that of the detector.
    """

    path: str
    sha256: str
    vector: NDArray[np.float32]
    box: "Box"
    score: float


@contextmanager
def exclusive_writer(folder: Path) -> Iterator[None]:
    """Lock a folder of vectors for one run; raises LikenessError if another run has the lock.

    Two runs at once would give their parts the same names and overwrite each other's files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise LikenessError(f"Another run writes to {folder}.") from exc
        yield
    finally:
        os.close(lock)


class VectorFolder:
    """Keep vectors in `part-000000.parquet` and so on, and the rejected files in a CSV.

    The folder is a Parquet data set: all other files in it have names that begin with `_` or `.`,
    which readers of data sets ignore. Every part is written completely or not at all, and the next
    run embeds the files that are in no part yet. So no file is in two parts and none is missing.

    Raises LikenessError for a folder with vectors of another bundle, in another format, or with
    other files.
    """

    def __init__(self, folder: Path, about: VectorOrigin, format_: Format) -> None:
        self._folder = folder
        self._about = about
        self._format = format_
        self._check()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.partial"):
            left.unlink()
        self._rejected = {row.path: row for row in read_rejected(self.rejected_path)}
        self._added = 0
        self._next = 1 + max((_number(part) for part in self._paths()), default=-1)
        with atomic_write(folder / "_about.json") as file:
            file.write(json.dumps(self._as_dict(), indent=2).encode() + b"\n")

    @property
    def rejected_path(self) -> Path:
        return self._folder / "_rejected.csv"

    @property
    def rejected(self) -> list[RejectedFile]:
        """Return the files that have no vector, sorted by path."""
        return [self._rejected[path] for path in sorted(self._rejected)]

    @property
    def added(self) -> int:
        """Return how many vectors this run has added."""
        return self._added

    def embedded_paths(self) -> set[str]:
        """Return the paths of the files that have a vector."""
        return {path for part in self._paths() for path in self._read_names(part)}

    def add(self, results: Sequence[VectorRow | RejectedFile]) -> None:
        """Write the vectors as one more part, and add the rejected files to the list."""
        rows = [row for row in results if isinstance(row, VectorRow)]
        self._rejected |= {row.path: row for row in results if isinstance(row, RejectedFile)}
        for row in rows:
            self._rejected.pop(row.path, None)
        if rows:
            rows.sort(key=lambda row: row.path)
            write = _write_parquet if self._format == "parquet" else _write_npz
            with atomic_write(self._folder / f"part-{self._next:06}.{self._format}") as file:
                write(file, rows, self._about)
            self._next += 1
            self._added += len(rows)
        write_rejected(self.rejected_path, self.rejected)

    def _check(self) -> None:
        path = self._folder / "_about.json"
        if not path.is_file():
            if any(not file.name.startswith(".") for file in self._folder.glob("*")):
                raise LikenessError(f"{self._folder} contains other files; name a new folder.")
            return
        try:
            stored = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as exc:
            raise LikenessError(f"{path} is damaged; name another folder for vectors.") from exc
        for name, value in self._as_dict().items():
            if stored.get(name) != value:
                raise LikenessError(
                    f"{self._folder} contains vectors of {name} {stored.get(name)}; the new ones "
                    f"are of {value}. Name another folder."
                )

    def _as_dict(self) -> dict[str, str | int]:
        about = self._about
        return {
            "bundle": about.bundle,
            "fingerprint": about.fingerprint,
            "dimension": about.dimension,
            "format": self._format,
        }

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"part-*.{self._format}"))

    def _read_names(self, part: Path) -> list[str]:
        try:
            return _names_in(part, self._format)
        except (OSError, ValueError, LookupError, BadZipFile) as exc:
            raise LikenessError(
                f"{part} is damaged; remove it, and its photos are embedded again."
            ) from exc


def _number(part: Path) -> int:
    """Return the number of a part, or -1 for a file of the user with a similar name."""
    number = part.stem.removeprefix("part-")
    return int(number) if number.isdecimal() else -1


def _names_in(part: Path, format_: Format) -> list[str]:
    if format_ == "npz":
        with np.load(part) as arrays:
            return [str(name) for name in arrays["path"]]
    from pyarrow import parquet

    names: list[str] = parquet.read_table(part, columns=["path"])["path"].to_pylist()
    return names


def _write_npz(file: BinaryIO, rows: Sequence[VectorRow], about: VectorOrigin) -> None:
    np.savez(
        file,
        path=np.array([row.path for row in rows]),
        sha256=np.array([row.sha256 for row in rows]),
        vector=np.stack([row.vector for row in rows]),
        box=np.array([_box(row) for row in rows], np.float32),
        score=np.array([row.score for row in rows], np.float32),
        bundle=np.array(about.bundle),
        fingerprint=np.array(about.fingerprint),
    )


def _write_parquet(file: BinaryIO, rows: Sequence[VectorRow], about: VectorOrigin) -> None:
    import pyarrow
    from pyarrow import parquet

    flat = np.concatenate([row.vector for row in rows])
    boxes = np.array([_box(row) for row in rows], np.float32).ravel()
    table = pyarrow.table(
        {
            "path": [row.path for row in rows],
            "sha256": [row.sha256 for row in rows],
            "vector": pyarrow.FixedSizeListArray.from_arrays(flat, about.dimension),
            "box": pyarrow.FixedSizeListArray.from_arrays(boxes, 4),
            "score": pyarrow.array([row.score for row in rows], pyarrow.float32()),
        },
        metadata={"bundle": about.bundle, "fingerprint": about.fingerprint},
    )
    parquet.write_table(table, file)


def _box(row: VectorRow) -> tuple[float, float, float, float]:
    return (row.box.left, row.box.top, row.box.width, row.box.height)
