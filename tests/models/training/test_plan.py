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
from models.errors import LikenessError
from models.training.options import Shares
from models.training.plan import Leak, Split, find_leaks, split_people
from tests.photos import jpeg

PEOPLE = np.repeat(np.arange(40), 10)
NAMES = [f"person {at}" for at in range(40)]


def split(
    people: NDArray[np.int64] = PEOPLE,
    usable: NDArray[np.bool_] | None = None,
    names: list[str] = NAMES,
    seed: int = 0,
) -> Split:
    usable = np.ones(len(people), bool) if usable is None else usable
    return split_people(people, usable, names, Shares(), seed)


def people_in(places: NDArray[np.int64]) -> set[int]:
    return set(PEOPLE[places].tolist())


def test_no_person_is_in_two_parts() -> None:
    parts = split()
    train, validation, test = (
        people_in(part) for part in (parts.train, parts.validation, parts.test)
    )
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_every_photo_is_in_one_part() -> None:
    parts = split()
    places = np.concatenate([parts.train, parts.held_out, parts.validation, parts.test])
    assert sorted(places) == list(range(len(PEOPLE)))


def test_held_out_photos_are_of_training_people() -> None:
    parts = split()
    assert people_in(parts.held_out) == people_in(parts.train)
    assert len(parts.held_out) == len(people_in(parts.train))  # one photo of ten each


def test_the_same_seed_gives_the_same_split() -> None:
    np.testing.assert_array_equal(split().test, split().test)


def test_another_seed_gives_another_split() -> None:
    assert people_in(split(seed=1).test) != people_in(split().test)


def test_a_set_that_grows_keeps_most_of_its_split() -> None:
    grown = np.repeat(np.arange(44), 10)
    names = [*NAMES, *(f"newcomer {at}" for at in range(4))]
    before, after = split(), split(grown, names=names)
    kept = set(PEOPLE[before.test].tolist()) & set(grown[after.test].tolist())
    assert len(kept) >= 4  # of six


def test_people_with_one_photo_are_in_train() -> None:
    people = np.concatenate([PEOPLE, [40, 41]])
    parts = split(people, names=[*NAMES, "alone", "alone too"])
    assert {400, 401} <= set(parts.train.tolist())


def test_unusable_photos_of_test_people_are_tested_as_failures_to_enrol() -> None:
    parts = split()
    usable = np.ones(len(PEOPLE), bool)
    usable[parts.test[0]] = False
    assert parts.test[0] in split(usable=usable).test


@pytest.mark.parametrize("part", ["train", "held_out", "validation"])
def test_other_unusable_photos_are_left_out(part: str) -> None:
    usable = np.ones(len(PEOPLE), bool)
    usable[::7] = False
    assert usable[getattr(split(usable=usable), part)].all()


def test_too_few_people_are_refused_with_the_number_needed() -> None:
    with pytest.raises(LikenessError, match=r"8 people .* 9 are needed"):
        split(np.repeat(np.arange(8), 10), names=NAMES[:8])


# Photos that are also in an evaluation set


def extracted(features: NDArray[np.float32], name: str) -> FeatureSet:
    digests = [hashlib.sha256(f"{name}{at}".encode()).hexdigest() for at in range(len(features))]
    return FeatureSet(features[:, None].astype(np.float32), digests, {})


def cone(count: int, seed: int) -> NDArray[np.float32]:
    """Draw features like CLIP's, with a large common part and small differences."""
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
