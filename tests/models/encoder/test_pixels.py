import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import CLIPImageProcessorPil

from models.bundle import BUILTIN_FOLDER, read_manifest
from models.encoder.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    PixelSpec,
    stack,
    standardise,
)
from models.photo.detectors import NoDetector
from models.photo.face import Framing, align, centre_square, find_face

Pixels = NDArray[np.uint8]


def ours(photo: Pixels, size: int = 224) -> torch.Tensor:
    """Crop an image as the service does with the detector `none`."""
    nobody = NoDetector()
    crop = align(find_face(photo, nobody), nobody, Framing(size, 0.0)).pixels
    return standardise(stack([crop]).float(), CLIP_MEAN, CLIP_STD)


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(np.s_[:, :], id="whole"),
        pytest.param(np.s_[:512, :], id="square"),
        pytest.param(np.s_[:400, :301], id="upright of odd width"),
        pytest.param(np.s_[:301, :400], id="lying of odd height"),
        pytest.param(np.s_[200:300, 200:290], id="smaller than the crop"),
        pytest.param(np.s_[:, 200:260], id="very narrow"),
    ],
)
def test_pixels_agree_with_clips_own_processor(grace: Pixels, part: tuple[slice, slice]) -> None:
    photo = np.ascontiguousarray(grace[part])
    theirs = CLIPImageProcessorPil()(photo, return_tensors="pt")["pixel_values"]
    assert (ours(photo) - theirs).abs().mean() < 0.01


def test_pixels_agree_at_another_size(astronaut: Pixels) -> None:
    sizes = {"size": {"shortest_edge": 112}, "crop_size": {"height": 112, "width": 112}}
    theirs = CLIPImageProcessorPil(**sizes)(astronaut, return_tensors="pt")["pixel_values"]
    assert (ours(astronaut, 112) - theirs).abs().mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1)])
def test_an_image_of_one_row_is_fitted_without_unfolding_it(shape: tuple[int, int]) -> None:
    # Scaled whole, it would take 9 gigabytes.
    assert centre_square(np.zeros((*shape, 3), np.uint8), 224).shape == (224, 224, 3)


def test_stacked_crops_are_channels_first_and_in_order() -> None:
    crops = [np.full((4, 4, 3), (n, 2 * n, 3 * n), np.uint8) for n in (1, 2)]
    assert stack(crops)[:, :, 0, 0].tolist() == [[1, 2, 3], [2, 4, 6]]


def test_stacked_crops_travel_as_bytes() -> None:
    assert stack([np.zeros((4, 4, 3), np.uint8)]).dtype == torch.uint8


def test_standardised_pixels_follow_the_formula() -> None:
    pixels = torch.randint(0, 256, (2, 3, 5, 5)).float()
    mean, std = (torch.tensor(t).view(1, 3, 1, 1) for t in (CLIP_MEAN, CLIP_STD))
    wanted = (pixels / 255 - mean) / std
    torch.testing.assert_close(standardise(pixels, CLIP_MEAN, CLIP_STD), wanted)


def test_dlibs_constants_are_dlibs_formula() -> None:
    spec = read_manifest(BUILTIN_FOLDER / "dlib").pixels
    pixels = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1)
    wanted = (pixels - torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1)) / 256
    torch.testing.assert_close(standardise(pixels, spec.mean, spec.std), wanted)


def test_standardising_keeps_the_precision_it_is_given() -> None:
    pixels = torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16)
    assert standardise(pixels, CLIP_MEAN, CLIP_STD).dtype == torch.bfloat16


def test_every_field_of_a_spec_is_hashed() -> None:
    assert set(PixelSpec(size=1, margin=0).as_dict()) == {"size", "margin", "mean", "std", "mirror"}
