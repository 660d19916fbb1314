"""Labelled photos as the service sees them."""

from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, load_bundle
from models.datasets.features import FeatureSet, VectorSet, apply_head, embed
from models.datasets.labelled import LabelledSet
from models.encoder.head import Head
from tests.photos import mirrored, photo_bytes

IMAGES = ["grace.jpg", "gone.jpg", "mirrored.jpg"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> LabelledSet:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "grace.jpg").write_bytes(photo_bytes("grace"))
    (folder / "mirrored.jpg").write_bytes(mirrored(photo_bytes("grace")))
    return LabelledSet(folder, IMAGES, np.zeros(3, np.int64), [])


@pytest.fixture(scope="module")
def bundle(tiny_bundle_folder: Path) -> Bundle:
    return load_bundle(str(tiny_bundle_folder))


@pytest.fixture(scope="module")
def embedded(labelled: LabelledSet, bundle: Bundle) -> VectorSet:
    return embed(labelled, bundle)


def test_vectors_are_of_unit_length_in_the_order_of_the_photos(embedded: VectorSet) -> None:
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors, axis=1), [1, 0, 1], atol=1e-5)


def test_a_photo_without_a_vector_has_zeros_and_a_reason(embedded: VectorSet) -> None:
    assert embedded.rejected == {"gone.jpg": "missing"}
    assert embedded.enrolled.tolist() == [True, False, True]


def test_a_face_and_its_mirror_image_have_one_vector(embedded: VectorSet) -> None:
    assert float(embedded.vectors[0] @ embedded.vectors[2]) > 0.985


def test_a_head_that_gives_no_direction_enrols_nobody(
    labelled: LabelledSet, bundle: Bundle
) -> None:
    dead = Head((bundle.encoder.width, 4)).requires_grad_(False)
    for weight in dead.parameters():
        weight.zero_()
    features = np.ones((3, 2, bundle.encoder.width), np.float32)
    embedded = apply_head(labelled, FeatureSet(features, ["a", "b", "c"], {}), dead)
    assert set(embedded.rejected.values()) == {"degenerate_vector"}
