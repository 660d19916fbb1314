import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.embedder import Embedder
from models.extract import Extracted, Extractor
from models.leaks import Leak, find_leaks
from tests.photos import photo_bytes, reencoded


def extracted(features: NDArray[np.float32], name: str) -> Extracted:
    digests = [hashlib.sha256(f"{name}{at}".encode()).hexdigest() for at in range(len(features))]
    return Extracted(features[:, None].astype(np.float32), digests, {})


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
    nothing = Extracted(np.zeros((1, 1, 64), np.float32), [""], {"a": "missing"})
    assert find_leaks(nothing, nothing) == []


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "grace.jpg").write_bytes(photo_bytes("grace"))
    (folder / "astronaut.png").write_bytes(photo_bytes("astronaut"))
    (folder / "recoded.jpg").write_bytes(reencoded("grace", 300))
    return folder


def test_a_photo_scaled_and_recoded_is_found_and_a_stranger_is_not(
    photos: Path, dlib_bundle: Bundle
) -> None:
    extractor = Extractor(Embedder(dlib_bundle, torch.device("cpu"), "fp32"))
    train = extractor(["grace.jpg", "astronaut.png"], photos)
    other = extractor(["recoded.jpg"], photos)
    assert [leak.place for leak in find_leaks(train, other)] == [0]
