"""From crops to vectors: run the encoder and the head of a bundle on one device."""

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

# Two different pictures always have a lower cosine, unless the network is broken.
_HIGHEST_COSINE = 1 - 1e-5


@dataclass(frozen=True, slots=True)
class Row:
    """Hold the `vector` `(d,)` of unit length and the `features` `(w,)` of a crop; float32."""

    vector: NDArray[np.float32]
    features: NDArray[np.float32]


class Embedder:
    """Run the encoder and the head of a bundle on one device; call it from one thread at a time."""

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
        # The head is a thousandth of the work, so float32 costs little and avoids rounding.
        self._head = None if bundle.head is None else bundle.head.to(device, torch.float32)

    def __call__(self, crops: Sequence[NDArray[np.uint8]]) -> Sequence[Row | DegenerateVector]:
        """Embed crops `(size, size, 3)` uint8 and return one row for each, in order.

        A crop without a usable vector gets a DegenerateVector instead. Raises OutOfMemory if the
        batch does not fit the device, and DeviceLost if the device is unusable until the process
        restarts.
        """
        with _device_errors(len(crops)):
            views = self.engine(stack(crops))
            vectors = unit_vectors(self._head, views).cpu().numpy()
            features = views.sum(1).cpu().numpy()
        good = are_unit(vectors) & np.isfinite(features).all(axis=1)
        return [
            Row(vector, feature) if usable else _degenerate()
            for vector, feature, usable in zip(vectors, features, good.tolist(), strict=True)
        ]

    def check(self) -> None:
        """Raise InvalidBundle unless two pictures become two different unit vectors.

        Damaged weights, or those of another kind of network, give no unit vector or always the
        same one.
        """
        size = self.bundle.manifest.pixels.size
        rows = self([_picture(seed, size) for seed in (0, 1)])
        vectors = np.array([row.vector for row in rows if isinstance(row, Row)])
        if len(vectors) < len(rows):
            fault = "gives no vector that can be compared"
        elif float(vectors[0] @ vectors[1]) > _HIGHEST_COSINE:
            fault = "gives the same vector for different pictures"
        else:
            return
        raise InvalidBundle(
            f"The bundle `{self.bundle.manifest.name}` {fault}: its weights are damaged, or not "
            "those of a face network. Copy the bundle again, or install its release again."
        )

    def template(self, row: Row) -> Template:
        """Return the template of a row, judged by the bundle's quality head if it has one."""
        return self.bundle.template(row.vector, self.bundle.assess(row.features))

    def features(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the encoder's features `(n, views, w)` without applying the head.

        There is one view, the crop, or with `mirror` two: the crop and its mirror image. Raises
        OutOfMemory and DeviceLost.
        """
        with _device_errors(len(crops)):
            return np.asarray(self.engine(stack(crops)).cpu().numpy(), np.float32)


@torch.inference_mode()
def unit_vectors(head: Head | None, features: Tensor) -> Tensor:
    """Return unit vectors `(n, d)` of features `(n, views, w)`, summed over the views."""
    vectors: Tensor = features if head is None else head(features)
    return torch.nn.functional.normalize(vectors.sum(1), dim=1)


# Parts of the messages of torch, oneDNN and OpenVINO when they get no memory.
_NO_MEMORY = (
    *("can't allocate memory", "could not create a memory", "bad_alloc"),
    # The same of ONNX Runtime, on a CPU and on a GPU.
    *("bad allocation", "Failed to allocate memory"),
)


def _picture(seed: int, size: int) -> NDArray[np.uint8]:
    """Draw coloured squares `(size, size, 3)` uint8, always the same for one seed."""
    squares = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    places = np.arange(size) * len(squares) // size
    return squares[places][:, places]


def _degenerate() -> DegenerateVector:
    return DegenerateVector("The encoder gave no usable vector for this face: NaN or zero length.")


@contextmanager
def _device_errors(count: int) -> Iterator[None]:
    """Turn the errors of the engines into OutOfMemory and DeviceLost; pass on all others.

    `count` is the number of crops in the batch.
    """
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
            raise DeviceLost("The device reported an error that it cannot recover from.") from exc
        raise
