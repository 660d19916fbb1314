import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from models.bundle import load_bundle
from models.datasets.features import Extractor, FeatureSet
from models.embedder import Embedder
from models.training.split import Leak, find_leaks
from tests.photos import jpeg


def extracted(features: NDArray[np.float32], name: str) -> FeatureSet:
    digests = [hashlib.sha256(f"{name}{at}".encode()).hexdigest() for at in range(len(features))]
    return FeatureSet(features[:, None].astype(np.float32), digests, {})


def cone(count: int, seed: int) -> NDArray[np.float32]:
    """Draw features as CLIP's are: a large common part and small differences."""
    random = np.random.default_rng(seed)
    return (20 + random.normal(size=(count, 64))).astype(np.float32)


def test_strangers_in_a_narrow_cone_are_no_leak() -> None:
    assert find_leaks(extracted(cone(300, 0), "train"), extracted(cone(300, 1), "other")) == []


def test_the_same_bytes_are_a_leak() -> None:
    train, other = extracted(cone(5, 0), "train"), extracted(cone(5, 1), "other")
    other.digests[4] = train.digests[2]
    assert find_leaks(train, other) == [Leak(2, 4, "same bytes", 1.0)]


def test_a_nearly_identical_photo_is_a_leak() -> None:
    features, others = cone(50, 0), cone(50, 1)
    others[7] = features[3] + 0.02
    (leak,) = find_leaks(extracted(features, "train"), extracted(others, "other"))
    assert (leak.place, leak.other, leak.how) == (3, 7, "near-identical")


def test_missing_photos_are_not_the_same_photo() -> None:
    nothing = FeatureSet(np.zeros((1, 1, 64), np.float32), [""], {"a": "missing"})
    assert find_leaks(nothing, nothing) == []


@pytest.mark.faces
def test_web_photos_scaled_and_recoded_are_found_and_strangers_are_not(
    faces: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(faces / "lfw_view1_devtest.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[:120]
        archive.extractall(tmp_path, names)
    for name in names[:20]:
        photo = Image.open(tmp_path / name)
        scaled = photo.resize((photo.width * 7 // 10, photo.height * 7 // 10))
        (tmp_path / name).with_suffix(".small.jpg").write_bytes(jpeg(scaled))
    extractor = Extractor(Embedder(load_bundle("builtin"), torch.device("cpu"), "fp32"))
    train = extractor(names, tmp_path)
    small = [name.replace(".jpg", ".small.jpg") for name in names[:20]]
    leaks = find_leaks(train, extractor(small, tmp_path))
    assert {leak.place for leak in leaks} <= set(range(20))
    assert len(leaks) >= 18
