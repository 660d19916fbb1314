"""Adapt a CLIP encoder to faces with LoRA, before its head is trained.

LoRA (Hu et al. 2021) trains low-rank changes of the attention matrices. At the end the changes
are merged into the weights, so that the result is an ordinary encoder.
"""

import warnings
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionModel

from models.bundle import Bundle, EncoderReference, load_bundle, write_manifest
from models.datasets.crops import CropSet, cut
from models.embedder import unit_vectors
from models.encoder.clip import ClipEncoder
from models.encoder.head import Head
from models.encoder.pixels import PixelSpec, standardise
from models.errors import LikenessError
from models.training.augment import Jitter, random_views, recolour
from models.training.loop import Identities, Training
from models.training.options import Lora, Options
from models.training.plan import Listener, Plan, Split

_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
_EVALUATED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Crops:
    """Hold the crops `(n, size, size, 3)` uint8 of each part of a split."""

    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    validation: NDArray[np.uint8]


class LoraLearner:
    """Train low-rank changes of an encoder together with a head.

    The head begins with `start`, or with random weights.
    """

    def __init__(
        self,
        encoder: ClipEncoder,
        pixels: PixelSpec,
        crops: Crops,
        lora: Lora,
        options: Options,
        device: torch.device,
        start: Head | None = None,
    ) -> None:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(options.seed)
        self._dtype = next(encoder.network.parameters()).dtype
        self._pixels = pixels
        self._crops = crops
        self._device = device
        self._jitter = Jitter()
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=2 * lora.rank,
            target_modules=list(_ATTENTION),
            lora_dropout=lora.dropout,
        )
        with warnings.catch_warnings():
            # peft calls transformers in a way that transformers 6 will drop.
            warnings.simplefilter("ignore", FutureWarning)
            network = get_peft_model(deepcopy(encoder.network).float(), config)
        self._network = network.to(device)
        fresh = Head((encoder.width, options.hidden, options.dimension))
        self._head = (fresh if start is None else deepcopy(start).float()).to(device)
        self._module = nn.ModuleList([self._network, self._head])

    @property
    def module(self) -> nn.Module:
        return self._module

    def vectors(self, places: Tensor, random: torch.Generator) -> Tensor:
        del random  # the augmentation uses torch's global generator, seeded for every epoch
        self._network.train()
        crops = self._to_device(self._crops.train, places.numpy())
        view = random_views(len(crops), self._jitter, self._device)
        if torch.rand(()) < 0.5:
            crops = crops.flip(3)
        grid = functional.affine_grid(view, list(crops.shape), align_corners=False)
        crops = functional.grid_sample(crops, grid, align_corners=False, padding_mode="border")
        features = self._features(recolour(crops, self._jitter))
        vectors: Tensor = self._head(features)
        return vectors.cpu()

    def evaluation_vectors(self) -> tuple[Tensor, Tensor]:
        held_out, validation = (
            self._unit(part) for part in (self._crops.held_out, self._crops.validation)
        )
        return held_out, validation

    def encoder(self) -> ClipEncoder:
        """Merge the changes into the weights and return the encoder; call it after training."""
        merged: CLIPVisionModel = self._network.cpu().merge_and_unload()
        return ClipEncoder(merged.to(self._dtype))

    def head(self) -> Head:
        """Return the head that was trained with the encoder."""
        return self._head.cpu().requires_grad_(False)

    def _to_device(self, crops: NDArray[np.uint8], places: NDArray[np.int64] | slice) -> Tensor:
        part = torch.from_numpy(np.array(crops[places])).to(self._device)
        return part.permute(0, 3, 1, 2).float().contiguous()

    def _features(self, crops: Tensor) -> Tensor:
        pixels = standardise(crops, self._pixels.mean, self._pixels.std)
        with torch.autocast(self._device.type, torch.bfloat16):
            features: Tensor = self._network(pixel_values=pixels).pooler_output
        return features.float()

    @torch.no_grad()
    def _unit(self, crops: NDArray[np.uint8]) -> Tensor:
        self._network.eval()
        parts = []
        for start in range(0, len(crops), _EVALUATED_AT_ONCE):
            part = self._to_device(crops, slice(start, start + _EVALUATED_AT_ONCE))
            views = torch.stack([self._features(part), self._features(part.flip(3))], 1)
            parts.append(unit_vectors(self._head, views).cpu())
        return torch.cat(parts) if parts else torch.empty(0, self._head.dimension)


def adapt_encoder(
    plan: Plan, start: Head | None, split: Split, listener: Listener
) -> tuple[str, Head]:
    """Adapt the encoder of a plan and write it to `plan.out` as a bundle without a head.

    Returns the folder of that bundle, and the head that was trained with the encoder. Raises
    LikenessError if the encoder has no attention.
    """
    bundle = load_bundle(plan.encoder, weights=plan.weights)
    if not isinstance(bundle.encoder, ClipEncoder):
        raise LikenessError(
            "LoRA needs an encoder with attention, such as CLIP; this encoder has none."
        )
    pixels = bundle.manifest.pixels
    lora = plan.lora
    options = replace(plan.options, epochs=lora.epochs, batch=lora.batch, rate=lora.rate)
    crops = _crops(plan, bundle, split)
    learner = LoraLearner(bundle.encoder, pixels, crops, lora, options, plan.device, start)
    training = Training(
        learner,
        Identities.of(plan.photos.people, split),
        options,
        plan.run / "encoder.pt",
        f"{bundle.fingerprint} {lora.rank}",
        keep_start=start is not None,
    )
    for epoch in training.epochs():
        listener.epoch("encoder", epoch, training.fmr)
    plan.out.mkdir(parents=True, exist_ok=True)
    (plan.out / "head.safetensors").unlink(missing_ok=True)
    learner.encoder().save(plan.out / "encoder")
    manifest = bundle.manifest.model_copy(
        update={
            "encoder": EncoderReference(kind="clip", source="encoder"),
            "head": None,
            "cohort": None,
            "quality": None,
            "calibration": None,
        }
    )
    write_manifest(plan.out, manifest)
    return str(plan.out), learner.head()


def _crops(plan: Plan, bundle: Bundle, split: Split) -> Crops:
    """Cut the crops of every part, or load those that an earlier run has cut."""
    photos = plan.photos
    parts = (split.train, split.held_out, split.validation)
    names = [photos.images[at] for at in np.concatenate(parts)]
    framing = bundle.manifest.pixels.framing
    path = plan.run / "crops.npy"
    crops = CropSet.load(path) if path.exists() else None
    if crops is None or crops.names != names or crops.crops.shape[1] != framing.size:
        files = [photos.folder / name for name in names]
        cut(files, photos.folder, bundle.detector, framing).save(path)
        crops = CropSet.load(path)
    if crops.names != names:
        raise LikenessError("Some photos changed while they were read. Run the training again.")
    ends = np.cumsum([len(part) for part in parts])
    return Crops(
        *(crops.crops[end - len(part) : end] for part, end in zip(parts, ends, strict=True))
    )
