"""Teach a quality head: what a photo's own features say of how well its person is recognised.

Photos of known people, plain and degraded, give both targets: the cosine with the mean of the
person's other plain photos, which blur or a mask lowers, and the condition that was put on. Photos
of unknown people teach the conditions alone, and what the head must not take for one: children,
for example, have soft faces.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models.cohort import Vectors
from models.decision import CONDITION_NAMES, ConditionName
from models.errors import LikenessError
from models.evaluation.captures import Captures
from models.photo.quality_head import (
    QualityHead,
    condition_logits,
    evidence_of_quality,
    inputs,
)

HIDDEN = 64
STEPS = 3000
BATCH = 1024
RATE = 3e-3
# A person's other photos say who it is if there are so many.
FEWEST_PHOTOS = 4
# Below this cosine with the person's other photos a plain photo is taken for a wrong label.
WRONG_LABEL = 0.1
# With fewer plain photos the thresholds of the last thousandth are a guess.
PLAIN_WANTED = 500
# Of the plain photos of people it did not learn from, so many may be called bad in one way.
FALSE_ALARMS = 0.001


@dataclass(frozen=True, slots=True)
class QualityExamples:
    """Hold features `(n, w)`, qualities `(n,)` or NaN, and the condition put on, -1 for none."""

    features: Vectors
    qualities: NDArray[np.float32]
    conditions: NDArray[np.int64]

    def at(self, places: NDArray[np.bool_]) -> "QualityExamples":
        return QualityExamples(
            self.features[places], self.qualities[places], self.conditions[places]
        )


def examples_of(
    captures: Captures, people: NDArray[np.int64] | None
) -> tuple[QualityExamples, NDArray[np.int64]]:
    """Return what photos teach, and whose each example is: -1 where people are not known."""
    usable = captures.usable
    plain = captures.plain[usable]
    who = np.full(len(plain), -1) if people is None else people[usable]
    references = np.full_like(plain, np.nan) if people is None else _others(plain, who)
    plainly = np.sum(plain * references, axis=1)
    trusted = np.isnan(plainly) | (plainly > WRONG_LABEL)
    kinds: list[tuple[Vectors, Vectors, int]] = [(plain, captures.features["none"][usable], -1)]
    kinds += [
        (captures.degraded[name][usable], captures.features[name][usable], at)
        for at, name in enumerate(CONDITION_NAMES)
        if name in captures.degraded
    ]
    features = np.concatenate([shown[trusted] for _, shown, _ in kinds])
    qualities = np.concatenate([np.sum(kind * references, axis=1)[trusted] for kind, *_ in kinds])
    conditions = np.repeat([at for *_, at in kinds], int(trusted.sum()))
    examples = QualityExamples(features, np.clip(qualities, 0, 1).astype(np.float32), conditions)
    return examples, np.tile(who[trusted], len(kinds))


def train_quality(
    labelled: tuple[Captures, NDArray[np.int64]], others: Sequence[Captures] = (), seed: int = 0
) -> tuple[QualityHead, QualityExamples]:
    """Teach a head; return it and the examples of the people that it did not learn from.

    A fifth of the people set the thresholds. Raises LikenessError without enough people.
    """
    examples, who = examples_of(*labelled)
    known = np.unique(who)
    if len(known) < 10:
        raise LikenessError(
            f"There are {len(known)} people with {FEWEST_PHOTOS} photos or more; 10 are needed."
        )
    held_out = np.random.default_rng(seed).permutation(known)[: len(known) // 5]
    judged = examples.at(np.isin(who, held_out))
    parts = [examples.at(~np.isin(who, held_out)), *(examples_of(each, None)[0] for each in others)]
    arrays = _fitted(parts, seed)
    arrays |= _judge(arrays, parts[0])
    rough = QualityHead(arrays, {}, 0.0)
    qualities, probabilities = rough.outputs(judged.features[judged.conditions == -1])
    thresholds: dict[ConditionName, float] = {
        name: max(0.5, float(np.quantile(probabilities[:, at], 1 - FALSE_ALARMS)))
        for at, name in enumerate(CONDITION_NAMES)
    }
    least = float(np.quantile(qualities, FALSE_ALARMS))
    return QualityHead(arrays, thresholds, least), judged


def _judge(arrays: dict[str, Vectors], examples: QualityExamples) -> dict[str, Vectors]:
    """Fit the quality to the length of the features and to the conditions, by least squares."""
    known = examples.at(~np.isnan(examples.qualities))
    seen = inputs(known.features)
    evidence = evidence_of_quality(seen, condition_logits(arrays, seen))
    columns = np.concatenate([evidence, np.ones((len(evidence), 1), np.float32)], axis=1)
    weights, *_ = np.linalg.lstsq(columns.astype(np.float64), known.qualities)
    weights = weights.astype(np.float32)
    return {"judge.weight": weights[:-1], "judge.bias": weights[-1:]}


def _others(vectors: Vectors, people: NDArray[np.int64]) -> Vectors:
    """Return for each photo the unit mean of its person's others; NaN where they are too few."""
    references = np.full_like(vectors, np.nan)
    for person in np.unique(people):
        places = np.flatnonzero(people == person)
        if len(places) < FEWEST_PHOTOS:
            continue
        sums = vectors[places].sum(axis=0) - vectors[places]
        references[places] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return references


def _fitted(parts: Sequence[QualityExamples], seed: int) -> dict[str, Vectors]:
    """Fit an MLP to standardised inputs, and return its weights for inputs as they are."""
    torch.manual_seed(seed)
    seen = torch.from_numpy(np.concatenate([inputs(part.features) for part in parts]))
    conditions = torch.from_numpy(np.concatenate([part.conditions for part in parts]))
    shown = functional.one_hot(conditions + 1, 1 + len(CONDITION_NAMES))[:, 1:].float()
    mean, deviation = seen.mean(0), seen.std(0).clamp(min=1e-6)
    seen = (seen - mean) / deviation
    layers = {
        "inner": nn.Linear(seen.shape[1], HIDDEN),
        "bend": nn.ReLU(),
        "outer": nn.Linear(HIDDEN, len(CONDITION_NAMES)),
    }
    network = nn.Sequential(OrderedDict(layers))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        some = torch.randint(len(seen), (BATCH,))
        loss = functional.binary_cross_entropy_with_logits(network(seen[some]), shown[some])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    arrays = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    arrays["inner.weight"] /= deviation.numpy()
    arrays["inner.bias"] -= arrays["inner.weight"] @ mean.numpy()
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def summary_lines(head: QualityHead, judged: QualityExamples) -> list[str]:
    """Return in a line each how well the head does on people that it did not learn from."""
    qualities, probabilities = head.outputs(judged.features)
    plain = judged.conditions == -1
    lines = []
    for at, name in enumerate(CONDITION_NAMES):
        shown = judged.conditions == at
        if not shown.any():
            continue
        found = probabilities[:, at] >= head.thresholds[name]
        lines.append(
            f"{name:13} seen in {np.mean(found[shown]):.1%} of photos that show it, in "
            f"{np.mean(found[plain]):.2%} of plain ones"
        )
    if plain.sum() < PLAIN_WANTED:
        lines.append(
            f"only {int(plain.sum()):,} plain photos of people held back set the thresholds: with "
            f"fewer than {PLAIN_WANTED:,}, and that is some {5 * PLAIN_WANTED:,} photos in all, "
            "expect more false alarms than these"
        )
    known = ~np.isnan(judged.qualities)
    agreement = float(np.corrcoef(qualities[known], judged.qualities[known])[0, 1])
    lines.append(f"quality       correlation with what it should be: {agreement:.2f}")
    return lines
