"""Adapt the encoder of a plan by LoRA, before its features are taken."""

from dataclasses import replace

import numpy as np

from models.bundle import Bundle, EncoderReference, load_bundle, write_manifest
from models.datasets.crops import CropSet, cut
from models.encoder.clip import ClipEncoder
from models.encoder.head import Head
from models.errors import LikenessError
from models.training.loop import Identities, Training
from models.training.lora import Crops, Lora, LoraLearner
from models.training.plan import Listener, Plan
from models.training.split import Split


def adapt(
    plan: Plan, lora: Lora, start: Head | None, split: Split, listener: Listener
) -> tuple[str, Head]:
    """Write the adapted encoder as a bundle without a head at `plan.out`, and name it.

    Also returns the head that was trained along. Raises LikenessError for an encoder
    without attention.
    """
    bundle = load_bundle(plan.encoder, weights=plan.weights)
    if not isinstance(bundle.encoder, ClipEncoder):
        raise LikenessError("LoRA changes the attention of a transformer; this encoder has none.")
    pixels = bundle.manifest.pixels
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
    """Cut the crops of every part, or map those that an earlier run has cut."""
    photos = plan.photos
    parts = (split.train, split.held_out, split.validation)
    wanted = [photos.images[at] for at in np.concatenate(parts)]
    framing = bundle.manifest.pixels.framing
    path = plan.run / "crops.npy"
    crops = CropSet.load(path) if path.exists() else None
    if crops is None or crops.names != wanted or crops.crops.shape[1] != framing.size:
        files = [photos.folder / name for name in wanted]
        cut(files, photos.folder, bundle.detector, framing).save(path)
        crops = CropSet.load(path)
    if crops.names != wanted:
        raise LikenessError("Photos have changed while they were read; run it again.")
    ends = np.cumsum([len(part) for part in parts])
    return Crops(
        *(crops.crops[end - len(part) : end] for part, end in zip(parts, ends, strict=True))
    )
