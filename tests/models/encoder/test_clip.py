import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from models.encoder.clip import ClipEncoder
from models.encoder.encoder import digest
from models.errors import InvalidBundle
from tests.checkpoints import (
    SIZE,
    WIDTH,
    vision_network,
    write_full,
    write_older,
    write_vision_only,
)

PIXELS = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def features(encoder: ClipEncoder, pixels: Tensor = PIXELS) -> Tensor:
    return encoder(pixels)


# The reference architecture


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Write a random ViT-B/32, the default of `CLIPVisionConfig`; 350 MB, removed afterwards."""
    folder = tmp_path_factory.mktemp("vit-b-32")
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(hidden_size=768, patch_size=32, image_size=224)
    ).save_pretrained(folder)  # fmt: skip
    yield folder
    shutil.rmtree(folder)


def test_features_of_a_vit_b_32_equal_transformers_own(reference: Path) -> None:
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs = CLIPVisionModel.from_pretrained(reference).eval()(pixel_values=pixels)
    ours = features(ClipEncoder.load(reference), pixels)
    torch.testing.assert_close(ours, theirs.pooler_output, atol=1e-5, rtol=0)


# Layouts


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(write_vision_only, id="vision only"),
        pytest.param(write_older, id="vision only, older names"),
        pytest.param(write_full, id="with its text tower"),
        pytest.param(lambda folder: write_full(folder, "20KB"), id="with its text tower, sharded"),
    ],
)
def test_every_layout_gives_the_same_features(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    encoder = ClipEncoder.load(write(tmp_path))
    assert torch.equal(features(encoder), features(ClipEncoder(vision_network())))


def test_a_sharded_checkpoint_has_several_files(tmp_path: Path) -> None:
    write_full(tmp_path, "20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2


def test_the_text_tower_is_not_loaded(tmp_path: Path) -> None:
    names = ClipEncoder.load(write_full(tmp_path)).network.state_dict()
    assert not [name for name in names if "text" in name]


def test_a_half_precision_checkpoint_is_loaded(tmp_path: Path) -> None:
    vision_network().half().save_pretrained(tmp_path)
    encoder = ClipEncoder.load(tmp_path)
    encoder.network.float()
    assert torch.equal(features(encoder), features(ClipEncoder(vision_network())))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    encoder = ClipEncoder(vision_network(seed=5))
    encoder.save(tmp_path)
    assert torch.equal(features(ClipEncoder.load(tmp_path)), features(encoder))


def test_the_encoder_says_its_width_and_image_size(tmp_path: Path) -> None:
    encoder = ClipEncoder.load(write_vision_only(tmp_path))
    assert (encoder.width, encoder.image_size) == (WIDTH, SIZE)


def test_the_encoder_is_frozen(tmp_path: Path) -> None:
    network = ClipEncoder.load(write_vision_only(tmp_path)).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_loading_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_full(tmp_path)
    capfd.readouterr()
    ClipEncoder.load(folder)
    assert capfd.readouterr() == ("", "")


# Refusals


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_a_weight(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["post_layernorm.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def pickle_the_weights(folder: Path) -> None:
    torch.save(vision_network().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_the_weights_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        pytest.param(drop_a_weight, "lacks 1 weights .* post_layernorm.weight", id="weight gone"),
        pytest.param(pickle_the_weights, "pickle files are never read", id="pickle only"),
        pytest.param(cut_the_weights_short, "could be loaded", id="truncated"),
        pytest.param(
            lambda folder: (folder / "model.safetensors").write_bytes(b""),
            "could be loaded",
            id="empty file",
        ),
        pytest.param(
            lambda folder: (folder / "model.safetensors").unlink(),
            "model.safetensors",
            id="no weights",
        ),
        pytest.param(
            lambda folder: (folder / "config.json").unlink(), "config.json", id="no config"
        ),
        pytest.param(
            lambda folder: (folder / "config.json").write_text("{"),
            "not a valid JSON",
            id="config is no JSON",
        ),
        pytest.param(
            lambda folder: (folder / "config.json").write_text("[]"),
            "config.json",
            id="config is a list",
        ),
        pytest.param(
            lambda folder: change_config(folder, model_type="vit"), "type vit", id="another type"
        ),
        pytest.param(
            lambda folder: change_config(folder, hidden_size=48),
            "do not have the shape that its config.json says",
            id="another width",
        ),
        pytest.param(
            lambda folder: change_config(folder, hidden_size="many"),
            "hidden_size",
            id="width is no number",
        ),
        pytest.param(
            lambda folder: change_config(folder, num_hidden_layers=3),
            "lacks 16 weights",
            id="a layer too few",
        ),
        pytest.param(
            lambda folder: change_config(folder, hidden_act="wild"),
            "wild",
            id="unknown activation",
        ),
    ],
)
def test_a_damaged_directory_is_refused(
    tmp_path: Path, harm: Callable[[Path], object], sentence: str
) -> None:
    harm(write_vision_only(tmp_path))
    with pytest.raises(InvalidBundle, match=sentence):
        ClipEncoder.load(tmp_path)


def test_a_checkpoint_without_one_of_its_shards_is_refused(tmp_path: Path) -> None:
    write_full(tmp_path, "20KB")
    min(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(InvalidBundle, match="model-00001-of"):
        ClipEncoder.load(tmp_path)


def test_a_text_model_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "vocab_size": 20}
    config = BertConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(InvalidBundle, match="type bert, not clip"):
        ClipEncoder.load(tmp_path)


def test_a_vision_encoder_of_another_family_is_refused(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
    config = SiglipVisionConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)
    SiglipVisionModel(config).save_pretrained(tmp_path)
    with pytest.raises(InvalidBundle, match="type siglip_vision_model, not clip"):
        ClipEncoder.load(tmp_path)


@pytest.mark.parametrize(
    "source", ["likeness/absent", "openai/clip-vit-base-patch32/nowhere", "/nowhere/at/all"]
)
def test_what_is_neither_here_nor_on_the_hub_is_refused(source: str) -> None:
    with pytest.raises(InvalidBundle, match=f"{source}.*Give a folder"):
        ClipEncoder.load(source)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"config\.json"):
        ClipEncoder.load(tmp_path)


# What a digest does not depend on


@pytest.mark.parametrize(
    "other_network",
    [
        vision_network(num_attention_heads=4),
        vision_network(hidden_act="gelu"),
        vision_network(layer_norm_eps=1e-3),
    ],
    ids=["heads", "activation", "epsilon"],
)
def test_the_architecture_tells_what_the_weights_do_not(other_network: CLIPVisionModel) -> None:
    ours, other = ClipEncoder(vision_network()), ClipEncoder(other_network)
    assert digest(ours.network) == digest(other.network)
    assert ours.architecture != other.architecture
