import pytest
import torch
from torch import Tensor

from models.training.augment import (
    CROP_MARGIN,
    CROP_SIZE,
    Jitter,
    extent_of,
    random_views,
    recolour,
    window,
)

CPU = torch.device("cpu")
STILL = Jitter(turn_degrees=0, scale=0, shift=0, recolour=0, grey=0, coarse=0, cover=0)


@pytest.fixture
def crops() -> Tensor:
    """Return three stored crops whose red rises to the right and whose green rises downwards."""
    torch.manual_seed(0)
    ramp = torch.arange(CROP_SIZE).float().expand(CROP_SIZE, CROP_SIZE)
    blue = torch.full_like(ramp, 90)
    return torch.stack([ramp, ramp.T, blue]).expand(3, 3, CROP_SIZE, CROP_SIZE).contiguous()


def plain(count: int) -> Tensor:
    return torch.eye(2, 3).expand(count, 2, 3)


def test_the_widest_window_shows_the_crop_as_it_is_stored(crops: Tensor) -> None:
    pixels, _ = window(crops, plain(3), CROP_SIZE, CROP_MARGIN)
    torch.testing.assert_close(pixels, crops, atol=1e-2, rtol=0)


@pytest.mark.parametrize("margin", [0.0, 0.06, 0.1])
def test_a_narrower_window_shows_the_middle(crops: Tensor, margin: float) -> None:
    pixels, _ = window(crops, plain(3), 100, margin)
    side = CROP_SIZE * (1 + 2 * margin) / (1 + 2 * CROP_MARGIN)
    left = (CROP_SIZE - side) / 2 - 0.5  # a pixel's colour is that of its centre
    steps = (torch.arange(100) + 0.5) * side / 100
    torch.testing.assert_close(pixels[0, 0, 50], left + steps, atol=1e-2, rtol=0)


def test_the_map_is_the_view_in_units_of_the_stored_crop(crops: Tensor) -> None:
    _, mapping = window(crops, plain(3), 100, 0.1)
    torch.testing.assert_close(mapping, plain(3) * 1.2 / 1.4)


def test_a_view_shifted_to_the_right_shows_what_lies_there(crops: Tensor) -> None:
    view = plain(3).clone()
    view[:, 0, 2] = 0.1
    moved = window(crops, view, 100, 0.0)[0] - window(crops, plain(3), 100, 0.0)[0]
    shift = 0.1 * extent_of(0.0) * CROP_SIZE / 2
    torch.testing.assert_close(moved[:, 0], torch.full((3, 100, 100), shift), atol=1e-2, rtol=0)


def test_views_do_not_leave_the_stored_crop() -> None:
    torch.manual_seed(0)
    corners = torch.tensor([[-1.0, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, 1]]).T
    reached = (random_views(2000, Jitter(), CPU) * extent_of(0.06)) @ corners
    assert reached.abs().max() < 1.25
    assert (reached.abs() > 1).float().mean() < 0.1


def test_without_jitter_the_view_is_plain() -> None:
    torch.testing.assert_close(random_views(4, STILL, CPU), plain(4))


def test_every_crop_gets_a_view_of_its_own() -> None:
    views = random_views(8, Jitter(), CPU)
    assert len(torch.unique(views, dim=0)) == 8


def test_a_turned_view_keeps_shapes() -> None:
    views = random_views(100, Jitter(turn_degrees=30, scale=0), CPU)
    rotation = views[:, :, :2]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(2).expand(100, 2, 2))


def test_without_jitter_colours_stay(crops: Tensor) -> None:
    torch.testing.assert_close(recolour(crops, STILL), crops)


def test_recoloured_pixels_stay_in_range(crops: Tensor) -> None:
    changed = recolour(crops.repeat(30, 1, 1, 1), Jitter(recolour=0.9))
    assert (float(changed.min()), float(changed.max())) == (0, 255)


@pytest.mark.parametrize(
    ("jitter", "grey"),
    [
        (Jitter(recolour=0, grey=1, coarse=0, cover=0), True),
        (Jitter(recolour=0, grey=0, coarse=0, cover=0), False),
    ],
)
def test_grey_has_no_colour(crops: Tensor, jitter: Jitter, grey: bool) -> None:
    changed = recolour(crops, jitter)
    assert torch.allclose(changed[:, 0], changed[:, 2]) is grey


def test_coarse_crops_lose_detail() -> None:
    torch.manual_seed(0)
    noise = torch.rand(2, 3, 112, 112) * 255
    changed = recolour(noise, Jitter(recolour=0, grey=0, coarse=1, cover=0))
    assert changed.std() < noise.std() / 2


def test_a_covered_rectangle_is_of_one_colour_and_leaves_the_rest(crops: Tensor) -> None:
    torch.manual_seed(0)
    changed = recolour(crops, Jitter(recolour=0, grey=0, coarse=0, cover=1))
    covered = (changed != crops).any(1)
    for crop, where in zip(changed, covered, strict=True):
        assert 0 < where.float().mean() < 0.1
        assert crop[:, where].std() < 1e-3
