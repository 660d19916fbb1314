from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.encoder.clip import ClipEncoder
from models.encoder.pixels import PixelSpec, standardise
from models.training.lora import Crops, LoraLearner
from models.training.options import Lora, Options
from tests.checkpoints import SIZE, vision_network

OPTIONS = Options(hidden=16, dimension=8)
PIXELS = PixelSpec(size=SIZE, margin=0.3)


def draw(count: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


CROPS = Crops(draw(12, 0), draw(3, 1), draw(4, 2))


@pytest.fixture
def encoder() -> ClipEncoder:
    return ClipEncoder(vision_network())


def learner_of(encoder: ClipEncoder) -> LoraLearner:
    return LoraLearner(encoder, PIXELS, CROPS, Lora(rank=2), OPTIONS, torch.device("cpu"))


def step(learner: LoraLearner) -> None:
    trained = [weight for weight in learner.module.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, 0.01)
    for seed in (0, 1):  # the first moves only one factor of every product
        vectors = learner.vectors(torch.arange(12), torch.Generator().manual_seed(seed))
        torch.autograd.backward(vectors.square().sum())
        optimizer.step()


def features(encoder: ClipEncoder) -> Tensor:
    pixels = torch.from_numpy(CROPS.validation).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        return encoder(standardise(pixels, PIXELS.mean, PIXELS.std))


def test_before_a_step_the_encoder_is_as_it_was(encoder: ClipEncoder) -> None:
    torch.testing.assert_close(features(learner_of(encoder).encoder()), features(encoder))


def test_steps_change_the_features(encoder: ClipEncoder) -> None:
    learner = learner_of(encoder)
    step(learner)
    assert (features(learner.encoder()) - features(encoder)).abs().max() > 1e-3


def test_the_encoder_it_started_from_is_left_alone(encoder: ClipEncoder) -> None:
    before = features(encoder)
    step(learner_of(encoder))
    torch.testing.assert_close(features(encoder), before)


def test_only_low_rank_changes_and_the_head_are_trained(encoder: ClipEncoder) -> None:
    named = learner_of(encoder).module.named_parameters()
    trained = {name for name, weight in named if weight.requires_grad}
    assert all("lora_" in name or name.startswith("1.") for name in trained)


def test_every_projection_of_the_attention_is_changed(encoder: ClipEncoder) -> None:
    named = learner_of(encoder).module.named_parameters()
    changed = {name.split(".")[-4] for name, _ in named if "lora_A" in name}
    assert changed == {"q_proj", "k_proj", "v_proj", "out_proj"}


def test_the_merged_encoder_has_the_weights_of_an_ordinary_one(encoder: ClipEncoder) -> None:
    merged = learner_of(encoder).encoder()
    assert set(merged.network.state_dict()) == set(encoder.network.state_dict())


def test_the_merged_encoder_gives_what_was_judged(encoder: ClipEncoder) -> None:
    learner = learner_of(encoder)
    step(learner)
    _, judged = learner.evaluation_vectors()
    merged = ClipEncoder(learner.encoder().network)
    with torch.inference_mode():
        views = torch.stack([features(merged), _mirrored(merged)], 1)
        vectors = torch.nn.functional.normalize(learner._head(views).sum(1))
    assert (vectors * judged).sum(1).min() > 0.99  # judged in bfloat16


def _mirrored(encoder: ClipEncoder) -> Tensor:
    pixels = torch.from_numpy(CROPS.validation).permute(0, 3, 1, 2).float().flip(3)
    return encoder(standardise(pixels, PIXELS.mean, PIXELS.std))


def test_photos_are_judged_as_one_vector_each(encoder: ClipEncoder) -> None:
    held_out, validation = learner_of(encoder).evaluation_vectors()
    assert (held_out.shape, validation.shape) == ((3, 8), (4, 8))


def test_without_photos_held_out_there_is_nothing_to_judge(encoder: ClipEncoder) -> None:
    crops = replace(CROPS, held_out=CROPS.held_out[:0])
    learner = LoraLearner(encoder, PIXELS, crops, Lora(rank=2), OPTIONS, torch.device("cpu"))
    assert learner.evaluation_vectors()[0].shape == (0, 8)
