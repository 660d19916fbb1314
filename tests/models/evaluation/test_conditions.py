"""Each condition changes crops as its name says, at the place of the face."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.decision import CONDITION_NAMES, ConditionName
from models.embedder import Embedder, Row
from models.errors import LikenessError
from models.evaluation.conditions import degrade, degrade_all, embed_captures
from models.photo.face import Framing
from tests.photos import photo_bytes

ARCFACE = Framing(112, 0.0, "arcface")
FRAMINGS = [ARCFACE, Framing(224, 0.5, "dlib")]

Pixels = NDArray[np.uint8]


def changed(crop: Pixels, framing: Framing, condition: ConditionName) -> NDArray[np.float64]:
    """Return the mean change of each pixel over random strengths, `(size, size)`."""
    drawn = [degrade(crop, framing, condition, np.random.default_rng(seed)) for seed in range(20)]
    moved = [np.abs(each.astype(int) - crop).mean(axis=2) for each in drawn]
    return np.asarray(np.mean(moved, axis=0))


def grey(framing: Framing) -> Pixels:
    return np.full((framing.size, framing.size, 3), 128, np.uint8)


def place(framing: Framing, x: float, y: float) -> tuple[int, int]:
    """Convert a point of the ArcFace crop, in shares of its side, to a pixel of this crop."""
    face = framing.face
    return (
        round(face.top + (y - 0.345) / 0.622 * face.height),
        round(face.left + (x - 0.192) / 0.622 * face.width),
    )


@pytest.mark.parametrize("framing", FRAMINGS, ids=["arcface", "dlib"])
def test_a_mask_covers_mouth_and_nose_and_leaves_the_eyes(framing: Framing) -> None:
    moved = changed(grey(framing), framing, "masked")
    assert moved[place(framing, 0.5, 0.82)] > 20
    assert moved[place(framing, 0.34, 0.46)] == moved[place(framing, 0.66, 0.46)] == 0


@pytest.mark.parametrize("framing", FRAMINGS, ids=["arcface", "dlib"])
def test_dark_glasses_cover_both_eyes_and_leave_the_mouth(framing: Framing) -> None:
    moved = changed(grey(framing), framing, "dark_glasses")
    assert min(moved[place(framing, 0.34, 0.46)], moved[place(framing, 0.66, 0.46)]) > 60
    assert moved[place(framing, 0.5, 0.82)] == 0


@pytest.mark.parametrize("condition", ["blurred", "small"])
def test_detail_is_lost(sface_chips: list[Pixels], condition: ConditionName) -> None:
    crop = sface_chips[0]
    coarse = degrade(crop, ARCFACE, condition, np.random.default_rng(0))
    detail = [
        float(cv2.Laplacian(cv2.GaussianBlur(each, (0, 0), 1), cv2.CV_32F).std())
        for each in (crop, coarse)
    ]
    assert detail[1] < 0.8 * detail[0]


def test_strong_compression_is_seen_in_the_pixels(sface_chips: list[Pixels]) -> None:
    crop = sface_chips[0]
    coarse = degrade(crop, ARCFACE, "compressed", np.random.default_rng(0))
    assert np.abs(coarse.astype(int) - crop).mean() > 3


def test_darkness_leaves_a_third_of_the_light_at_most(sface_chips: list[Pixels]) -> None:
    crop = sface_chips[0]
    dark = degrade(crop, ARCFACE, "dark", np.random.default_rng(0))
    assert dark.mean() < 0.36 * crop.mean()


@pytest.mark.parametrize("condition", CONDITION_NAMES)
def test_crops_keep_their_shape_and_the_original_stays(
    sface_chips: list[Pixels], condition: ConditionName
) -> None:
    crop = sface_chips[0].copy()
    result = degrade(crop, ARCFACE, condition, np.random.default_rng(0))
    assert result.shape == crop.shape
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(crop, sface_chips[0])
    assert (result != crop).any()


def test_strengths_differ_from_crop_to_crop_and_are_the_same_every_time(
    sface_chips: list[Pixels],
) -> None:
    crops = [sface_chips[0]] * 2
    first, again = (degrade_all(crops, ARCFACE, "blurred", seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()


def test_photos_are_embedded_plain_and_degraded(sface_embedder: Embedder, tmp_path: Path) -> None:
    files = [tmp_path / "grace.jpg", tmp_path / "astronaut.png", tmp_path / "missing.jpg"]
    files[0].write_bytes(photo_bytes("grace"))
    files[1].write_bytes(photo_bytes("astronaut"))
    files[2].write_bytes(b"no photo")
    captures = embed_captures(files, sface_embedder, ("masked",))
    assert captures.usable.tolist() == [True, True, False]
    kept = (captures.plain * captures.degraded["masked"]).sum(axis=1)[:-1]
    assert (kept > 0.2).all()
    assert (kept < 0.99).all()
    lengths = np.linalg.norm(captures.features["masked"][:-1], axis=1)
    assert (lengths > 1).all()


def test_photos_without_any_face_are_refused(sface_embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_bytes(b"no photo")
    with pytest.raises(LikenessError, match="No face"):
        embed_captures([tmp_path / "text.jpg"], sface_embedder)


def test_a_row_is_judged_with_its_template(
    sface_embedder: Embedder, sface_chips: list[Pixels]
) -> None:
    (row,) = sface_embedder(sface_chips[:1])
    assert isinstance(row, Row)
    template = sface_embedder.template(row)
    assert template.quality is not None
    assert 0.5 < template.quality <= 1
    assert template.conditions == frozenset()
    assert template.mean == pytest.approx(sface_embedder.bundle.cohort.mean(row.vector))
