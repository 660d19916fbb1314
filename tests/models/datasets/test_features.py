"""Features of a folder of photos, by a tiny random encoder."""

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.datasets.crops import cut
from models.datasets.features import (
    AdaptiveBatches,
    Extractor,
    FeatureCache,
    FeatureSet,
    VectorSet,
    apply_head,
    cache_key,
    embed,
    no_note,
)
from models.datasets.labelled import LabelledSet
from models.embedder import Embedder
from models.encoder.head import Head
from models.encoder.pixels import PixelSpec
from models.errors import OutOfMemory
from models.photo.detectors import DetectorSource
from tests.checkpoints import write_bundle
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
def feature_set(folder: Path, tiny_bundle_folder: Path) -> FeatureSet:
    embedder = Embedder(load_bundle(str(tiny_bundle_folder)), CPU, "fp32")
    return Extractor(embedder)(IMAGES, folder)


def test_features_are_in_the_order_of_the_images(
    feature_set: FeatureSet, embedder: Counting, folder: Path
) -> None:
    bundle = embedder.bundle
    framing = bundle.manifest.pixels.framing
    crops = cut([folder / "b.jpg"], folder, bundle.detector, framing, workers=1).crops
    np.testing.assert_allclose(
        feature_set.features[3], embedder.features(list(crops))[0], atol=1e-5
    )


def test_a_photo_without_features_has_zeros_and_a_reason(feature_set: FeatureSet) -> None:
    assert feature_set.rejected == {"nobody.png": "no_face", "gone.jpg": "missing"}
    assert feature_set.usable.tolist() == [True, False, False, True, True]


def test_the_same_bytes_under_two_names_are_encoded_once(embedder: Counting, folder: Path) -> None:
    feature_set = Extractor(embedder)(["a.jpg", "same.jpg"], folder)
    assert embedder.crops == 1
    np.testing.assert_array_equal(feature_set.features[0], feature_set.features[1])


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
    feature_set = Extractor(embedder, batch=4, note=lines.append)(IMAGES, folder)
    assert feature_set.usable.sum() == 3
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


def test_the_photos_of_a_part_keep_their_reasons(feature_set: FeatureSet) -> None:
    part = feature_set.at(np.array([2, 3]), IMAGES)
    assert part.rejected == {"gone.jpg": "missing"}
    assert part.usable.tolist() == [False, True]


# Vectors of labelled photos


LABELLED_IMAGES = ["grace.jpg", "gone.jpg", "mirrored.jpg"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> LabelledSet:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "grace.jpg").write_bytes(photo_bytes("grace"))
    (folder / "mirrored.jpg").write_bytes(mirrored(photo_bytes("grace")))
    return LabelledSet(folder, LABELLED_IMAGES, np.zeros(3, np.int64), [])


@pytest.fixture(scope="module")
def bundle(tiny_bundle_folder: Path) -> Bundle:
    return load_bundle(str(tiny_bundle_folder))


@pytest.fixture(scope="module")
def vector_set(labelled: LabelledSet, bundle: Bundle) -> VectorSet:
    return embed(labelled, bundle)


def test_vectors_are_of_unit_length_in_the_order_of_the_photos(vector_set: VectorSet) -> None:
    np.testing.assert_allclose(np.linalg.norm(vector_set.vectors, axis=1), [1, 0, 1], atol=1e-5)


def test_a_photo_without_a_vector_has_zeros_and_a_reason(vector_set: VectorSet) -> None:
    assert vector_set.rejected == {"gone.jpg": "missing"}
    assert vector_set.enrolled.tolist() == [True, False, True]


def test_a_face_and_its_mirror_image_have_one_vector(vector_set: VectorSet) -> None:
    assert float(vector_set.vectors[0] @ vector_set.vectors[2]) > 0.985


def test_a_head_that_gives_no_direction_enrols_nobody(
    labelled: LabelledSet, bundle: Bundle
) -> None:
    dead = Head((bundle.encoder.width, 4)).requires_grad_(False)
    for weight in dead.parameters():
        weight.zero_()
    features = np.ones((3, 2, bundle.encoder.width), np.float32)
    vector_set = apply_head(labelled, FeatureSet(features, ["a", "b", "c"], {}), dead)
    assert set(vector_set.rejected.values()) == {"degenerate_vector"}


# The cache


SHAPE = (2, 3)


def features(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def test_features_come_back_as_they_were_added(tmp_path: Path) -> None:
    FeatureCache(tmp_path, "key").add({"a": features(1), "b": features(2)}, SHAPE)
    found = FeatureCache(tmp_path, "key").find(["b"])
    np.testing.assert_array_equal(found["b"], features(2))


def test_only_what_is_asked_for_comes_back(tmp_path: Path) -> None:
    FeatureCache(tmp_path, "key").add({"a": features(1), "b": features(2)}, SHAPE)
    assert set(FeatureCache(tmp_path, "key").find(["b", "c"])) == {"b"}


def test_a_photo_without_features_is_remembered_with_its_reason(tmp_path: Path) -> None:
    FeatureCache(tmp_path, "key").add({"a": "no_face", "b": features(2)}, SHAPE)
    assert FeatureCache(tmp_path, "key").find(["a"]) == {"a": "no_face"}


def test_additions_of_several_runs_are_found_together(tmp_path: Path) -> None:
    for name in "abc":
        FeatureCache(tmp_path, "key").add({name: features(1)}, SHAPE)
    assert set(FeatureCache(tmp_path, "key").find("abc")) == set("abc")


def test_other_keys_share_nothing(tmp_path: Path) -> None:
    FeatureCache(tmp_path, "key").add({"a": features(1)}, SHAPE)
    assert FeatureCache(tmp_path, "other").find(["a"]) == {}


def test_a_damaged_file_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "key")
    cache.add({"a": features(1)}, SHAPE)
    (written,) = (tmp_path / "key").iterdir()
    cache.add({"b": features(2)}, SHAPE)
    written.write_bytes(written.read_bytes()[:100])
    assert set(cache.find("ab")) == {"b"}


def test_no_file_is_left_half_written(tmp_path: Path) -> None:
    FeatureCache(tmp_path, "key").add({"a": features(1)}, SHAPE)
    assert {path.suffix for path in (tmp_path / "key").iterdir()} == {".npz"}


def test_the_key_names_the_encoder(tmp_path: Path) -> None:
    first, second = (
        cache_key(load_bundle(str(write_bundle(tmp_path / str(seed), seed))), "fp32")
        for seed in (0, 1)
    )
    assert first != second


def test_the_key_names_precision_and_detector(tiny_bundle_folder: Path) -> None:
    bundle = load_bundle(str(tiny_bundle_folder))
    keys = {
        cache_key(bundle, "fp32"),
        cache_key(bundle, "bf16"),
        cache_key(replace(bundle, detector=DetectorSource("none")), "fp32"),
    }
    assert len(keys) == 3


def test_the_key_names_the_crop(tiny_bundle_folder: Path) -> None:
    bundle = load_bundle(str(tiny_bundle_folder))
    assert cache_key(bundle, "fp32") != cache_key(
        _with(bundle, replace(bundle.manifest.pixels, margin=0.1)), "fp32"
    )


def test_head_and_mirror_do_not_change_the_key(tiny_bundle_folder: Path) -> None:
    bundle = load_bundle(str(tiny_bundle_folder))
    other = replace(_with(bundle, replace(bundle.manifest.pixels, mirror=False)), head=None)
    assert cache_key(bundle, "fp32") == cache_key(other, "fp32")


def _with(bundle: Bundle, pixels: PixelSpec) -> Bundle:
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"pixels": pixels}))


# Batches that adapt to the memory


class Machine:
    """Double numbers, in batches of at most `room`."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.tried.append(len(items))
        if len(items) > self.room:
            raise OutOfMemory("too many")
        return [2 * item for item in items]


def doubled(machine: Machine, count: int, size: int) -> list[int]:
    return [n for part in AdaptiveBatches(machine, size, no_note)(range(count)) for n in part]


def test_every_item_is_served_once_and_in_order_when_memory_is_short() -> None:
    assert doubled(Machine(room=3), count=20, size=16) == [2 * n for n in range(20)]


def test_a_batch_that_fitted_once_is_kept() -> None:
    machine = Machine(room=4)
    doubled(machine, count=20, size=16)
    assert machine.tried == [16, 8, 4, 4, 4, 4, 4]


def test_the_user_is_told_in_one_line_for_every_halving() -> None:
    lines: list[str] = []
    list(AdaptiveBatches(Machine(room=4), 16, lines.append)(range(20)))
    assert lines == [
        "A batch of 16 does not fit the memory; going on with 8.",
        "A batch of 8 does not fit the memory; going on with 4.",
    ]


def test_what_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(OutOfMemory):
        doubled(Machine(room=0), count=3, size=4)


def test_nothing_of_a_failed_batch_is_held_while_it_is_tried_again() -> None:
    held: list[weakref.ref[NDArray[np.float32]]] = []

    def run(items: Sequence[int]) -> list[int]:
        gc.collect()
        assert all(reference() is None for reference in held)
        pixels = np.zeros(len(items), np.float32)
        held.append(weakref.ref(pixels))
        if len(items) > 1:
            raise OutOfMemory("too many")
        return list(items)

    assert [n for part in AdaptiveBatches(run, 4, no_note)(range(4)) for n in part] == [0, 1, 2, 3]
