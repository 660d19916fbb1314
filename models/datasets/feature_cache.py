"""Features of photos on disk, so that no photo is put through the encoder twice."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, fingerprint
from models.datasets.atomic import whole_file
from models.encoder.device import Precision

Features = NDArray[np.float32]


class FeatureCache:
    """Remember what became of a photo by the SHA-256 of its bytes.

    An entry is features `(views, w)` float32, or the code of the error that the photo gave.
    Every `add` writes one more file, whole or not at all, so that a killed run loses what it
    had not added, and two runs may share a folder.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder / key

    def find(self, digests: Collection[str]) -> dict[str, Features | str]:
        """Return what is remembered of the photos with these digests."""
        wanted = set(digests)
        found: dict[str, Features | str] = {}
        for path in sorted(self._folder.glob("*.npz")):
            try:
                with path.open("rb") as file, np.load(file) as part:
                    names = [str(name) for name in part["digests"]]
                    if wanted.isdisjoint(names):
                        continue
                    entries = zip(names, part["features"], part["codes"], strict=True)
                    found |= {
                        name: str(code) or row for name, row, code in entries if name in wanted
                    }
            except (OSError, ValueError, KeyError, BadZipFile):
                continue  # a damaged file costs time, not a run: its photos are taken again
        return found

    def add(self, entries: Mapping[str, Features | str], shape: tuple[int, ...]) -> None:
        """Remember these; `shape` is that of the features, `(views, w)`."""
        if not entries:
            return
        nothing = np.zeros(shape, np.float32)
        rows = [nothing if isinstance(entry, str) else entry for entry in entries.values()]
        codes = [entry if isinstance(entry, str) else "" for entry in entries.values()]
        name = sha256("".join(entries).encode()).hexdigest()[:24]
        with whole_file(self._folder / f"{name}.npz") as file:
            digests = np.array(list(entries))
            np.savez(file, digests=digests, features=np.stack(rows), codes=np.array(codes))


def cache_key(bundle: Bundle, precision: Precision) -> str:
    """Name what features depend on besides the photo: encoder, crop, precision, detector.

    Neither the head nor the sum over mirrored views is part of it: views are kept apart.
    """
    pixels = replace(bundle.manifest.pixels, mirror=False)
    return f"{fingerprint(bundle.encoder, None, pixels)[:32]}-{precision}-{bundle.detector.name}"
