"""The only thing the batcher calls: uint8 crops to unit vectors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import Bundle
from models.cohort import are_unit
from models.decision import Template
from models.encoder import EngineChoice
from models.encoder.device import Precision
from models.encoder.engine import open_engine
from models.encoder.head import Head
from models.encoder.pixels import stack
from models.errors import DegenerateVector, DeviceLost, InvalidBundle, OutOfMemory

# Two pictures have a lower cosine, whatever the network, unless it sees nothing.
_MOST_ALIKE = 1 - 1e-5


@dataclass(frozen=True, slots=True)
class Row:
    """Hold what one crop became: `vector` `(d,)` of unit length, `features` `(w,)`; float32."""

    vector: NDArray[np.float32]
    features: NDArray[np.float32]


class Embedder:
    """Run a bundle's encoder and head on one device; called by one thread at a time."""

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device,
        precision: Precision,
        engine: EngineChoice = "auto",
    ) -> None:
        self.bundle = bundle
        self.device = device
        self.precision = precision
        self.engine = open_engine(engine, bundle.encoder, bundle.manifest.pixels, device, precision)
        # The head is a thousandth of the work: in float32 it costs nothing and rounds nothing.
        self._head = None if bundle.head is None else bundle.head.to(device, torch.float32)

    def __call__(self, crops: Sequence[NDArray[np.uint8]]) -> Sequence[Row | DegenerateVector]:
        """Embed crops `(size, size, 3)` uint8, each to its own row, in order.

        Raises OutOfMemory if the device could not hold the batch and DeviceLost if it is
        unusable until the process restarts.
        """
        with _told_apart(len(crops)):
            looks = self.engine(stack(crops))
            vectors = unit_vectors(self._head, looks).cpu().numpy()
            features = looks.sum(1).cpu().numpy()
        good = are_unit(vectors) & np.isfinite(features).all(axis=1)
        return [
            Row(vector, feature) if usable else _degenerate()
            for vector, feature, usable in zip(vectors, features, good.tolist(), strict=True)
        ]

    def check(self) -> None:
        """Raise InvalidBundle unless two pictures become two different unit vectors.

        Weights that are damaged, or no network at all, give none, or all the same one.
        """
        size = self.bundle.manifest.pixels.size
        rows = self([_picture(seed, size) for seed in (0, 1)])
        vectors = np.array([row.vector for row in rows if isinstance(row, Row)])
        if len(vectors) < len(rows):
            wrong = "gives no vector that could be compared"
        elif float(vectors[0] @ vectors[1]) > _MOST_ALIKE:
            wrong = "gives the same vector for different pictures"
        else:
            return
        raise InvalidBundle(
            f"The bundle `{self.bundle.manifest.name}` {wrong}: its weights are damaged, or no "
            "face network's. Copy the bundle again, or install the release that it came with again."
        )

    def template(self, row: Row) -> Template:
        """Return what a row is compared by, judged by the bundle's quality head if it has one."""
        return self.bundle.template(row.vector, self.bundle.assess(row.features))

    def features(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return pooled features `(n, looks, w)`, the head left out.

        One look, or with `mirror` two: the crop and its mirror image. Raises as a call does.
        """
        with _told_apart(len(crops)):
            return np.asarray(self.engine(stack(crops)).cpu().numpy(), np.float32)


@torch.inference_mode()
def unit_vectors(head: Head | None, features: Tensor) -> Tensor:
    """Return unit vectors `(n, d)` of features `(n, looks, w)`, summed over looks."""
    vectors: Tensor = features if head is None else head(features)
    return torch.nn.functional.normalize(vectors.sum(1), dim=1)


# What torch, oneDNN, OpenVINO and ONNX Runtime say of memory that they cannot get.
_NO_MEMORY = (
    *("can't allocate memory", "could not create a memory", "bad_alloc"),
    # ONNX Runtime, on a CPU and on a GPU.
    *("bad allocation", "Failed to allocate memory"),
)


def _picture(seed: int, size: int) -> NDArray[np.uint8]:
    """Return some coloured squares, the same ones every time, `(size, size, 3)` uint8."""
    squares = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    places = np.arange(size) * len(squares) // size
    return squares[places][:, places]


def _degenerate() -> DegenerateVector:
    return DegenerateVector("The encoder gave no direction for this face: NaN or zero length.")


@contextmanager
def _told_apart(count: int) -> Iterator[None]:
    """Tell memory and device faults, which torch words differently, from all others."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory(f"A batch of {count} does not fit the device.") from exc
    except MemoryError as exc:
        raise OutOfMemory(f"A batch of {count} does not fit the memory.") from exc
    except RuntimeError as exc:
        text = str(exc)
        if any(words in text for words in _NO_MEMORY):
            raise OutOfMemory(f"A batch of {count} does not fit the memory.") from exc
        if isinstance(exc, torch.AcceleratorError) or "CUDA error" in text:
            raise DeviceLost("The device reported an error it does not recover from.") from exc
        raise
