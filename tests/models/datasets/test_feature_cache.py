from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.datasets.features import FeatureCache, cache_key
from models.encoder.pixels import PixelSpec
from models.photo.detectors import DetectorSource
from tests.checkpoints import write_bundle

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
