"""Features of a folder of photos, by a tiny random encoder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.datasets.crops import cut
from models.datasets.features import Extractor, FeatureCache, FeatureSet
from models.embedder import Embedder
from models.errors import OutOfMemory
from tests.images import encode, picture
from tests.photos import mirrored, photo_bytes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "a.jpg").write_bytes(photo_bytes("grace"))
    (folder / "b.jpg").write_bytes(mirrored(photo_bytes("grace")))
    (folder / "same.jpg").write_bytes(photo_bytes("grace"))
    (folder / "nobody.png").write_bytes(encode(picture(), "PNG"))
    return folder


IMAGES = ["a.jpg", "nobody.png", "gone.jpg", "b.jpg", "same.jpg"]


class Counting(Embedder):
    """Count the crops that reach the encoder, and hold at most `room` at a time."""

    room = 1000
    crops = 0

    def features(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if len(crops) > self.room:
            raise OutOfMemory("too many")
        self.crops += len(crops)
        return super().features(crops)


@pytest.fixture
def embedder(tiny_bundle_folder: Path) -> Counting:
    return Counting(load_bundle(str(tiny_bundle_folder)), CPU, "fp32")


@pytest.fixture(scope="module")
def extracted(folder: Path, tiny_bundle_folder: Path) -> FeatureSet:
    embedder = Embedder(load_bundle(str(tiny_bundle_folder)), CPU, "fp32")
    return Extractor(embedder)(IMAGES, folder)


def test_features_are_in_the_order_of_the_images(
    extracted: FeatureSet, embedder: Counting, folder: Path
) -> None:
    bundle = embedder.bundle
    framing = bundle.manifest.pixels.framing
    crops = cut([folder / "b.jpg"], folder, bundle.detector, framing, workers=1).crops
    np.testing.assert_allclose(extracted.features[3], embedder.features(list(crops))[0], atol=1e-5)


def test_a_photo_without_features_has_zeros_and_a_reason(extracted: FeatureSet) -> None:
    assert extracted.rejected == {"nobody.png": "no_face", "gone.jpg": "missing"}
    assert extracted.usable.tolist() == [True, False, False, True, True]


def test_the_same_bytes_under_two_names_are_encoded_once(embedder: Counting, folder: Path) -> None:
    extracted = Extractor(embedder)(["a.jpg", "same.jpg"], folder)
    assert embedder.crops == 1
    np.testing.assert_array_equal(extracted.features[0], extracted.features[1])


def test_a_second_run_encodes_nothing(embedder: Counting, folder: Path, tmp_path: Path) -> None:
    first = Extractor(embedder, FeatureCache(tmp_path, "key"))(IMAGES, folder)
    embedder.crops = 0
    second = Extractor(embedder, FeatureCache(tmp_path, "key"))(IMAGES, folder)
    assert embedder.crops == 0
    np.testing.assert_array_equal(first.features, second.features)
    assert first.rejected == second.rejected


def test_a_run_goes_on_after_what_an_earlier_one_did(
    embedder: Counting, folder: Path, tmp_path: Path
) -> None:
    Extractor(embedder, FeatureCache(tmp_path, "key"))(["a.jpg"], folder)
    embedder.crops = 0
    Extractor(embedder, FeatureCache(tmp_path, "key"))(["a.jpg", "b.jpg"], folder)
    assert embedder.crops == 1


def test_short_memory_costs_a_line_and_no_photo(embedder: Counting, folder: Path) -> None:
    embedder.room = 1
    lines: list[str] = []
    extracted = Extractor(embedder, batch=4, note=lines.append)(IMAGES, folder)
    assert extracted.usable.sum() == 3
    assert lines == ["A batch of 2 does not fit the memory; going on with 1."]


def test_progress_counts_what_was_known_before(
    embedder: Counting, folder: Path, tmp_path: Path
) -> None:
    Extractor(embedder, FeatureCache(tmp_path, "key"))(["a.jpg"], folder)
    told: list[tuple[int, int]] = []
    Extractor(embedder, FeatureCache(tmp_path, "key"))(
        ["a.jpg", "b.jpg"], folder, lambda done, of: told.append((done, of))
    )
    assert told == [(1, 2), (2, 2)]


def test_the_photos_of_a_part_keep_their_reasons(extracted: FeatureSet) -> None:
    part = extracted.at(np.array([2, 3]), IMAGES)
    assert part.rejected == {"gone.jpg": "missing"}
    assert part.usable.tolist() == [False, True]
