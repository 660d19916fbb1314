"""Load the vision half of a CLIP checkpoint, from a folder or from the hub.

The import of transformers takes seconds, so this module is imported only when it is needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.utils import logging as transformers_logging

from models.encoder.encoder import check_numbers, digest, weights_of
from models.errors import InvalidBundle


class ClipEncoder:
    """Run the vision half of a CLIP checkpoint; its `pooler_output` is the features.

    `revision` is the commit on the hub that it was loaded from, None for a folder.
    """

    def __init__(self, network: CLIPVisionModel, revision: str | None = None) -> None:
        self.network: nn.Module = network.eval().requires_grad_(False)
        config = network.config
        self.width: int = config.hidden_size
        self.image_size: int = config.image_size
        self.revision = revision
        # Everything else follows from the shapes of the weights.
        self.architecture = (
            f"clip, {config.num_attention_heads} heads, {config.hidden_act}, "
            f"epsilon {config.layer_norm_eps}"
        )

    @classmethod
    def load(cls, source: str | Path, revision: str | None = None) -> "ClipEncoder":
        """Load a folder or a hub id: a vision-only checkpoint, or a full CLIP with its text half.

        Only safetensors are read, in one file or in several. Raises InvalidBundle if files are
        missing, are not those of a CLIP, or lack a weight of the vision half.
        """
        try:
            with _quiet_transformers():
                network, missing, misshapen = _read(source, revision or "main")
        except _UNREADABLE as exc:
            raise InvalidBundle(
                f"No CLIP vision encoder could be loaded from `{source}`: "
                f"{shorten(str(exc), 240, placeholder=' ...').rstrip('.')}. Give a folder with "
                "config.json and model.safetensors (or its shards), or the id of a hub repository "
                "that can be reached; pickle files are never read."
            ) from exc
        if missing:
            raise InvalidBundle(
                f"`{source}` lacks {len(missing)} weights of a CLIP vision encoder, "
                f"first {missing[0]}."
            )
        if misshapen:
            raise InvalidBundle(
                f"{len(misshapen)} weights in `{source}` do not have the shape that its "
                f"config.json says, first {misshapen[0]}."
            )
        check_numbers(weights_of(network), f"`{source}`")
        return cls(network, _commit_of(source, revision or "main"))

    def save(self, folder: Path) -> None:
        """Write the encoder into a folder for `load`, at its present precision."""
        assert isinstance(self.network, CLIPVisionModel)
        with _quiet_transformers():
            self.network.save_pretrained(folder)

    def digest(self) -> bytes:
        """Return the SHA-256 of its weights."""
        return digest(self.network)

    def __call__(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network(pixel_values=pixels).pooler_output
        return features


# The errors that the libraries raise for missing, damaged or foreign files.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, RuntimeError),
    *(SafetensorError, StrictDataclassError),
)


def _commit_of(source: str | Path, revision: str) -> str | None:
    """Return the commit of the revision that was loaded from the hub; None for a folder."""
    if Path(source).is_dir():
        return None
    kept = try_to_load_from_cache(str(source), "config.json", revision=revision)
    return Path(kept).parent.name if isinstance(kept, str) else None


def _read(source: str | Path, revision: str) -> tuple[CLIPVisionModel, list[str], list[str]]:
    """Return the network and the names of the weights that are missing and misshapen."""
    config, _ = CLIPVisionConfig.get_config_dict(source, revision=revision)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in ("clip", "clip_vision_model"):
        raise ValueError(f"Its config.json describes a model of type {kind}, not clip.")
    network, report = CLIPVisionModel.from_pretrained(
        source,
        revision=revision,
        use_safetensors=True,
        dtype="auto",
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # the error of transformers would not name them
    )
    misshapen = [str(name) for name, *_ in report["mismatched_keys"]]
    return network, sorted(report["missing_keys"]), sorted(misshapen)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide the progress bar and the list of the unused weights of the text half."""
    verbosity = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()
