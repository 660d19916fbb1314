"""The knobs of a training run, in groups: what each does, its limits and its default.

`likeness train` and `python -m models.train` have an option for each knob that has a help
sentence. The other knobs are for programs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_origin

from typer import Argument, Option

LossName = Literal["cross_entropy", "arcface", "cosface"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Name the photos, the encoder, the device and the folders of a run."""

    # Photos, and the folder of the results.
    photos: Annotated[
        Path, Argument(exists=True, help="One folder per person, or a CSV path,identity.")
    ]
    out: Annotated[Path, Option(help="Folder for the new bundle.")] = Path("bundle")
    evaluate_on: Annotated[
        list[Path] | None,
        Option(
            exists=True,
            file_okay=False,
            help="Labelled photos for another evaluation; their people are left out of the "
            "training. Repeat it for more; the first one sets the operating points.",
        ),
    ] = None
    outside: Annotated[
        bool, Option("--outside", help="Let a CSV name photos outside its folder.")
    ] = False

    # Where the training starts.
    encoder: Annotated[
        str, Option(help="Encoder of the features: built-in name, folder or hub id.")
    ] = "builtin"
    fresh_head: Annotated[
        bool, Option("--fresh-head", help="Do not start with the head of the bundle.")
    ] = False

    # The machine.
    device: Annotated[str, Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    cache: Annotated[
        Path | None, Option(help="Folder for features. Default: in the user's cache.")
    ] = None
    smoke: Annotated[
        bool,
        Option("--smoke", help="Use a few people and epochs, to see whether everything works."),
    ] = False


@dataclass(frozen=True, slots=True)
class Options:
    """Hold the options of the training of a head."""

    # The head: two layers, on features of which a share is dropped.
    hidden: int = 512
    dimension: Annotated[int, Option(min=2, help="Length of the vectors, for a fresh head.")] = 128
    dropout: float = 0.1

    # The loss: cosines are multiplied by `scale`. A `margin` of None is the usual one: 28.6
    # degrees for ArcFace, a cosine of 0.35 for CosFace.
    loss: Annotated[LossName, Option(help="Cross-entropy, or a margin loss.")] = "cross_entropy"
    scale: float = 16.0
    margin: float | None = None

    # The photos of a step. The share `noise` of each batch, with the highest losses, is ignored.
    batch: Annotated[int, Option(min=2, help="Photos per step.")] = 256
    balance: Annotated[
        float, Option(min=0, max=1, help="0 draws photos evenly, 1 draws people evenly.")
    ] = 0.5
    noise: Annotated[
        float, Option(min=0, max=0.5, help="Share of the photos that may have wrong labels.")
    ] = 0.0

    # The steps, of AdamW. The rate rises in the first epoch and then falls to zero.
    rate: Annotated[float, Option(min=0, help="Highest learning rate.")] = 1e-3
    weight_decay: float = 0.05
    epochs: Annotated[int, Option(min=1, help="Largest number of epochs.")] = 60
    patience: Annotated[
        int, Option(min=1, help="Stop after so many epochs without a better validation result.")
    ] = 15

    # The numbers that are drawn.
    seed: Annotated[int, Option(help="The same seed gives the same head.")] = 0


@dataclass(frozen=True, slots=True)
class Lora:
    """Hold the options of LoRA, which adapts the encoder before its head is trained."""

    # The change of every attention matrix is of this rank; 0 leaves the encoder as it is.
    rank: Annotated[
        int,
        Option(
            "--lora", min=0, help="First adapt the encoder's attention, with LoRA of this rank."
        ),
    ] = 0
    dropout: float = 0.05

    # The steps; the other options are those of the head.
    batch: int = 64
    rate: float = 5e-4
    epochs: Annotated[int, Option(min=1, help="Epochs of that adaptation.")] = 5


@dataclass(frozen=True, slots=True)
class Shares:
    """Hold the shares of people for validation and test, and of training photos to hold out."""

    validation: float = 0.15
    test: float = 0.15
    held_out: float = 0.1


# The groups on the command line, and what the names of their knobs begin with there.
_GROUPS: Final = (("", Inputs), ("", Options), ("lora_", Lora))


def with_knobs(run: Callable[[Inputs, Options, Lora], None]) -> Callable[..., None]:
    """Return a command for typer that reads the knobs and calls `run` with them."""

    @wraps(run)
    def command(**given: Any) -> None:
        groups: list[Any] = [
            group(**{knob.name: given[prefix + knob.name] for knob in _knobs(group)})
            for prefix, group in _GROUPS
        ]
        run(*groups)

    command.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            knob.replace(name=prefix + knob.name, kind=Parameter.KEYWORD_ONLY)
            for prefix, group in _GROUPS
            for knob in _knobs(group)
        ]
    )
    return command


def _knobs(group: type) -> Iterator[Parameter]:
    """Yield the knobs of a group that have a help sentence."""
    for knob in signature(group).parameters.values():
        if get_origin(knob.annotation) is Annotated:
            yield knob
