"""Tiny random CLIP checkpoints, in the file layouts that the hub has them in."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel

from models.bundle import EncoderReference, Manifest, save_weights, write_manifest
from models.encoder.clip import ClipEncoder
from models.encoder.head import Head
from models.encoder.pixels import PixelSpec

SIZE, WIDTH = 32, 32
_VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 8,
}
_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "max_position_embeddings": 8,
}


def vision_network(seed: int = 0, **changes: object) -> CLIPVisionModel:
    """Build a vision tower whose numbers float16 holds exactly."""
    torch.manual_seed(seed)
    return CLIPVisionModel(CLIPVisionConfig(**(_VISION | changes))).half().float()


def write_vision_only(folder: Path, seed: int = 0, **changes: object) -> Path:
    """Write a vision tower alone, as current transformers does."""
    vision_network(seed, **changes).save_pretrained(folder)
    return folder


def write_full(folder: Path, max_shard_size: str = "5GB") -> Path:
    """Write the same vision tower in a CLIP with its text tower, in shards when small."""
    network = CLIPModel(CLIPConfig(vision_config=_VISION, text_config=_TEXT, projection_dim=8))
    network.vision_model.load_state_dict(vision_network().state_dict())
    network.save_pretrained(folder, max_shard_size=max_shard_size)
    return folder


def write_older(folder: Path) -> Path:
    """Write the vision tower alone as transformers 4 did: every name with its prefix."""
    path = write_vision_only(folder) / "model.safetensors"
    tensors = {f"vision_model.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})
    return folder


def write_hub_cache(home: Path, repository: str) -> str:
    """Write a full CLIP as the hub's client keeps it under `HF_HOME`; return its commit."""
    commit = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    write_full(folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    return commit


def tiny_head(*widths: int, seed: int = 1) -> Head:
    """Build a random head whose numbers float16 holds exactly."""
    torch.manual_seed(seed)
    return Head(widths).half().float().eval()


def tiny_manifest(**changes: object) -> Manifest:
    """Return the manifest that `write_bundle` writes, with other values where given."""
    manifest = Manifest(
        name="tiny",
        encoder=EncoderReference(kind="clip", source="encoder"),
        head=(WIDTH, 24, 16),
        pixels=PixelSpec(size=SIZE, margin=0.3, mirror=True),
        detector="yunet",
        trained_on="nothing",
        not_good_for="anything but tests",
    )
    return manifest.model_copy(update=changes)


def write_bundle(folder: Path, seed: int = 0, **changes: object) -> Path:
    """Write a bundle of a tiny encoder and a tiny head."""
    encoder = ClipEncoder(vision_network(seed))
    save_weights(folder, encoder, tiny_head(WIDTH, 24, 16))
    write_manifest(folder, tiny_manifest(**changes))
    return folder
