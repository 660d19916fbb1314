"""A learned judge of captures: how well a person is recognised by a photo, and what is wrong.

What blur, a mask or dark glasses do to a face is seen in the encoder's features: a small MLP names
what is wrong with a photo. How like its person's other photos it will be follows from that and from
the length of the features, which is greater the more of a face the encoder sees in them (Meng et
al., MagFace, 2021, found so and trained for it). The head is no part of the fingerprint.
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
# Log odds beyond these say nothing more of the quality.
_MOST_ODDS = 8.0

# What the person taking the photo can do about it.
ADVICE: Mapping[ConditionName, str] = MappingProxyType(
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
    """Say what a bundle's quality head is: its hash, and what it learned from.

    `thresholds` are by condition the probability from which a photo counts as showing it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    thresholds: dict[ConditionName, float]
    least: float = Field(description="quality below which a photo makes a bad template")
    data: str


@dataclass(frozen=True, slots=True)
class LearnedQuality:
    """Hold what is learned from a photo's features.

    `quality`, 0 to 1, is the cosine to expect with the mean of its person's other photos; that of
    a photo that `is_poor` is too low for a template.
    """

    quality: float
    conditions: frozenset[ConditionName]
    is_poor: bool = False

    def measures(self) -> dict[str, float]:
        """Return it as numbers with names, to be stored beside a template."""
        return {_RECOGNISABILITY: self.quality} | dict.fromkeys(sorted(self.conditions), 1.0)

    @classmethod
    def of_measures(cls, measures: Mapping[str, float]) -> "LearnedQuality | None":
        """Return it from what was stored; None if it was not."""
        quality = measures.get(_RECOGNISABILITY)
        if quality is None:
            return None
        return cls(quality, frozenset(name for name in CONDITION_NAMES if name in measures))


@dataclass(frozen=True, slots=True, eq=False)
class QualityHead:
    """Hold an MLP from features `(n, w)` to a logit for each condition, and from those a quality.

    A photo of a quality below `least` makes a bad template.
    """

    tensors: Mapping[str, Array]
    thresholds: Mapping[ConditionName, float]
    least: float

    def outputs(self, features: Array) -> tuple[Array, NDArray[np.float64]]:
        """Return qualities `(n,)` and probabilities `(n, conditions)` of features `(n, w)`."""
        seen = inputs(features)
        logits = condition_logits(self.tensors, seen)
        judged = evidence_of_quality(seen, logits)
        qualities = judged @ self.tensors["judge.weight"] + self.tensors["judge.bias"]
        # In double precision: shares near 1 are told apart by thresholds near 1.
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
    """Return what the MLP sees of features `(n, w)`: their direction, and their length's log."""
    lengths = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    directions = features / lengths * np.sqrt(features.shape[1])
    return np.asarray(np.concatenate([directions, np.log(lengths)], axis=1), np.float32)


def condition_logits(tensors: Mapping[str, Array], seen: Array) -> Array:
    """Return the MLP's log odds `(n, conditions)` for `inputs` `(n, w + 1)`."""
    inner = seen @ tensors["inner.weight"].T + tensors["inner.bias"]
    logits = np.maximum(inner, 0) @ tensors["outer.weight"].T + tensors["outer.bias"]
    return np.asarray(logits, np.float32)


def evidence_of_quality(seen: Array, logits: Array) -> Array:
    """Return what a quality follows from: the features' length, and log odds within bounds."""
    limited = np.clip(logits, -_MOST_ODDS, _MOST_ODDS)
    return np.asarray(np.concatenate([seen[:, -1:], limited], axis=1), np.float32)


def condition_issues(conditions: Collection[ConditionName]) -> tuple[Issue, ...]:
    """Return what is wrong with a photo, with advice."""
    return tuple(Issue(name, ADVICE[name]) for name in CONDITION_NAMES if name in conditions)


def write_quality(folder: Path, head: QualityHead, data: str) -> QualityCard:
    """Write a bundle's quality head beside its manifest, and return what that says of it."""
    blob = save({name: np.ascontiguousarray(head.tensors[name]) for name in _TENSORS})
    (folder / QUALITY_FILE).write_bytes(blob)
    digest = hashlib.sha256(blob).hexdigest()
    return QualityCard(sha256=digest, thresholds=dict(head.thresholds), least=head.least, data=data)


def read_quality(folder: Path, card: QualityCard, width: int) -> QualityHead:
    """Read the head beside a manifest; raises InvalidBundle if it is not the one it names."""
    path = folder / QUALITY_FILE
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != card.sha256:
            raise InvalidBundle(f"{path} is not the quality head that bundle.json names.")
        tensors = {name: np.asarray(value, np.float32) for name, value in load_file(path).items()}
        shapes = [tensors[name].shape for name in _TENSORS]
    except (OSError, SafetensorError, KeyError) as exc:
        raise InvalidBundle(f"{path} cannot be read: {exc}") from exc
    hidden, outputs = shapes[0][0], len(CONDITION_NAMES)
    expected = [(hidden, width + 1), (hidden,), (outputs, hidden), (outputs,), (1 + outputs,), (1,)]
    if shapes != expected:
        raise InvalidBundle(f"{path} does not fit features of {width} numbers.")
    return QualityHead(tensors, card.thresholds, card.least)
