"""Embed photos of a folder for the commands that measure or train a bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.terminal import bar, settings_from

if TYPE_CHECKING:
    from models.decision import ConditionName
    from models.embedder import Embedder
    from models.evaluation.conditions import Captures

PhotosNote = Annotated[
    str | None,
    typer.Option("--data", "--of", help="One sentence about the photos; it is kept in the bundle."),
]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for a new copy of the bundle.")
]
InPlace = Annotated[bool, typer.Option("--write", help="Change the bundle itself.")]


def open_embedder(bundle: str | None) -> "tuple[str, Embedder]":
    """Load a bundle on the CPU; return its source and its embedder."""
    import torch

    from models.bundle import choose_bundle, load_bundle
    from models.embedder import Embedder
    from models.encoder.device import choose_precision

    source, _ = choose_bundle(bundle)
    device = torch.device("cpu")
    loaded = load_bundle(source, weights=settings_from().weights)
    return source, Embedder(loaded, device, choose_precision(device, "auto"))


def capture_photos(
    files: Sequence[Path],
    embedder: "Embedder",
    conditions: "Sequence[ConditionName] | None" = None,
) -> "Captures":
    """Embed photos as they are and under conditions (by default all), and show the progress."""
    from models.decision import CONDITION_NAMES
    from models.evaluation.conditions import embed_captures

    chosen = CONDITION_NAMES if conditions is None else conditions
    with bar("under conditions" if chosen else "embedding") as progress:
        return embed_captures(files, embedder, chosen, progress)
