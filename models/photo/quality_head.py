"""Judge by the encoder's features how well a person can be recognised by a photo.

Blur, a mask or dark glasses change the features of a face, so a small MLP can name the conditions
of a photo. The quality is computed from these conditions and from the length of the features,
which is greater for clearer faces (Meng et al., MagFace, 2021). The fingerprint of a bundle does
not include the quality head.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from models.decision import CONDITION_NAMES, ConditionName
from models.errors import InvalidBundle
from models.photo.quality import Issue

Array = NDArray[np.float32]

QUALITY_FILE = "quality.safetensors"
_RECOGNISABILITY = "recognisability"
_TENSORS = (
    *("inner.weight", "inner.bias", "outer.weight", "outer.bias"),
    *("judge.weight", "judge.bias"),
)
# Log odds are limited to this, because greater ones say nothing more about the quality.
_MOST_ODDS = 8.0

# What the person who takes the photo can do about each condition.
_ADVICE: Mapping[ConditionName, str] = MappingProxyType(
    {
        "blurred": "Hold still and focus on the face.",
        "masked": "Take off the mask, and keep hands and scarf away from mouth and nose.",
        "dark_glasses": "Take off the sunglasses.",
        "small": "Move closer, or send the full-size photo.",
        "dark": "Turn towards the light.",
        "compressed": "Send the photo as the camera took it, not compressed again.",
    }
)


class QualityCard(BaseModel):
    """Describe the quality head of a bundle in its manifest.

    A photo counts as showing a condition if its probability reaches the condition's threshold.
    `data` says in a sentence on what photos the head was trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    thresholds: dict[ConditionName, float]
    least: float = Field(description="quality below which a photo makes a bad template")
    data: str


@dataclass(frozen=True, slots=True)
class LearnedQuality:
    """Hold what the quality head finds in the features of a photo.

    `quality`, 0 to 1, is the expected cosine with the mean of the person's other photos. A photo
    that `is_poor` makes a bad template. `conditions` are the defects of the photo.
    """

    quality: float
    conditions: frozenset[ConditionName]
    is_poor: bool = False

    def measures(self) -> dict[str, float]:
        """Return it as named numbers, to be stored with a template."""
        return {_RECOGNISABILITY: self.quality} | dict.fromkeys(sorted(self.conditions), 1.0)

    @classmethod
    def of_measures(cls, measures: Mapping[str, float]) -> "LearnedQuality | None":
        """Restore it from the stored numbers of a template; None if they do not contain it."""
        quality = measures.get(_RECOGNISABILITY)
        if quality is None:
            return None
        return cls(quality, frozenset(name for name in CONDITION_NAMES if name in measures))


@dataclass(frozen=True, slots=True, eq=False)
class QualityHead:
    """Hold an MLP from features `(n, w)` to a logit for each condition, and then to a quality.

    A photo with a quality below `least` makes a bad template.
    """

    tensors: Mapping[str, Array]
    thresholds: Mapping[ConditionName, float]
    least: float

    def outputs(self, features: Array) -> tuple[Array, NDArray[np.float64]]:
        """Return qualities `(n,)` and probabilities `(n, conditions)` of features `(n, w)`."""
        mlp_inputs = inputs(features)
        logits = condition_logits(self.tensors, mlp_inputs)
        judged = evidence_of_quality(mlp_inputs, logits)
        qualities = judged @ self.tensors["judge.weight"] + self.tensors["judge.bias"]
        # In double precision, because some thresholds are very close to 1.
        shares = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -30, 30)))
        return np.asarray(np.clip(qualities, 0, 1), np.float32), shares

    def __call__(self, features: Array) -> LearnedQuality:
        """Judge a photo by its features `(w,)`."""
        qualities, probabilities = self.outputs(features[None])
        conditions = frozenset(
            name
            for name, share in zip(CONDITION_NAMES, probabilities[0].tolist(), strict=True)
            if share >= self.thresholds.get(name, 1.0)
        )
        quality = float(qualities[0])
        return LearnedQuality(quality, conditions, quality < self.least)


def inputs(features: Array) -> Array:
    """Return the inputs `(n, w + 1)` of the MLP for features `(n, w)`: direction, log length."""
    lengths = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    directions = features / lengths * np.sqrt(features.shape[1])
    return np.asarray(np.concatenate([directions, np.log(lengths)], axis=1), np.float32)


def condition_logits(tensors: Mapping[str, Array], mlp_inputs: Array) -> Array:
    """Return the MLP's log odds `(n, conditions)` for `inputs` `(n, w + 1)`."""
    inner = mlp_inputs @ tensors["inner.weight"].T + tensors["inner.bias"]
    logits = np.maximum(inner, 0) @ tensors["outer.weight"].T + tensors["outer.bias"]
    return np.asarray(logits, np.float32)


def evidence_of_quality(mlp_inputs: Array, logits: Array) -> Array:
    """Return what the quality is computed from: log length of the features, and the log odds."""
    limited = np.clip(logits, -_MOST_ODDS, _MOST_ODDS)
    return np.asarray(np.concatenate([mlp_inputs[:, -1:], limited], axis=1), np.float32)


def condition_issues(conditions: Collection[ConditionName]) -> tuple[Issue, ...]:
    """Return the issues, with advice, of a photo that shows these conditions."""
    return tuple(Issue(name, _ADVICE[name]) for name in CONDITION_NAMES if name in conditions)


def write_quality(folder: Path, head: QualityHead, data: str) -> QualityCard:
    """Write the quality head into the folder of a bundle, and return its card for the manifest."""
    blob = save({name: np.ascontiguousarray(head.tensors[name]) for name in _TENSORS})
    (folder / QUALITY_FILE).write_bytes(blob)
    digest = hashlib.sha256(blob).hexdigest()
    return QualityCard(sha256=digest, thresholds=dict(head.thresholds), least=head.least, data=data)


def read_quality(folder: Path, card: QualityCard, width: int) -> QualityHead:
    """Read the quality head of a bundle from its folder.

    `width` is the length of the encoder's features. Raises InvalidBundle if the file is damaged or
    is not the head that the card describes.
    """
    path = folder / QUALITY_FILE
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != card.sha256:
            raise InvalidBundle(f"{path} is not the quality head that bundle.json describes.")
        tensors = {name: np.asarray(value, np.float32) for name, value in load_file(path).items()}
        shapes = [tensors[name].shape for name in _TENSORS]
    except (OSError, SafetensorError, KeyError) as exc:
        raise InvalidBundle(f"{path} cannot be read: {exc}") from exc
    hidden, outputs = shapes[0][0], len(CONDITION_NAMES)
    expected = [(hidden, width + 1), (hidden,), (outputs, hidden), (outputs,), (1 + outputs,), (1,)]
    if shapes != expected:
        raise InvalidBundle(f"{path} does not fit features of {width} numbers.")
    return QualityHead(tensors, card.thresholds, card.least)
