"""Train a quality head, which estimates from features how well a person will be recognised.

Photos of known people, plain and under conditions, give both targets: the condition, and the
cosine with the mean of the person's other plain photos. Blur or a mask lowers this cosine. Photos
of unknown people give the condition only. They also show the head plain faces that it must not
mistake for a condition: children, for example, have soft faces.
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
from models.evaluation.conditions import Captures
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
# People with fewer photos give no target for the quality.
FEWEST_PHOTOS = 4
# A plain photo below this cosine with the person's other photos is taken for a wrong label.
WRONG_LABEL = 0.1
# With fewer plain photos a threshold at FALSE_ALARMS is a guess.
PLAIN_WANTED = 500
# The share of plain photos of held-out people in which a condition may be detected.
FALSE_ALARMS = 0.001


@dataclass(frozen=True, slots=True)
class QualityExamples:
    """Hold features `(n, w)`, qualities `(n,)` or NaN, and numbers of conditions, -1 for none."""

    features: Vectors
    qualities: NDArray[np.float32]
    conditions: NDArray[np.int64]

    def at(self, places: NDArray[np.bool_]) -> "QualityExamples":
        """Return the examples that `places` `(n,)` marks."""
        return QualityExamples(
            self.features[places], self.qualities[places], self.conditions[places]
        )


def examples_of(
    captures: Captures, people: NDArray[np.int64] | None
) -> tuple[QualityExamples, NDArray[np.int64]]:
    """Return the examples of photos, and the number of the person on each, -1 if unknown."""
    usable = captures.usable
    plain = captures.plain[usable]
    owners = np.full(len(plain), -1) if people is None else people[usable]
    references = np.full_like(plain, np.nan) if people is None else _references(plain, owners)
    own_cosines = np.sum(plain * references, axis=1)
    trusted = np.isnan(own_cosines) | (own_cosines > WRONG_LABEL)
    kinds: list[tuple[Vectors, Vectors, int]] = [(plain, captures.features["none"][usable], -1)]
    kinds += [
        (captures.degraded[name][usable], captures.features[name][usable], at)
        for at, name in enumerate(CONDITION_NAMES)
        if name in captures.degraded
    ]
    features = np.concatenate([kind[trusted] for _, kind, _ in kinds])
    qualities = np.concatenate([np.sum(kind * references, axis=1)[trusted] for kind, *_ in kinds])
    conditions = np.repeat([at for *_, at in kinds], int(trusted.sum()))
    examples = QualityExamples(features, np.clip(qualities, 0, 1).astype(np.float32), conditions)
    return examples, np.tile(owners[trusted], len(kinds))


def train_quality(
    labelled: tuple[Captures, NDArray[np.int64]], others: Sequence[Captures] = (), seed: int = 0
) -> tuple[QualityHead, QualityExamples]:
    """Train a head; return it and the examples of the held-out people.

    A fifth of the people is held out and sets the thresholds. Raises LikenessError if there are
    too few people.
    """
    examples, owners = examples_of(*labelled)
    known = np.unique(owners)
    if len(known) < 10:
        raise LikenessError(
            f"There are {len(known)} people with {FEWEST_PHOTOS} or more photos; 10 are needed."
        )
    held_out = np.random.default_rng(seed).permutation(known)[: len(known) // 5]
    held_out_examples = examples.at(np.isin(owners, held_out))
    parts = [
        examples.at(~np.isin(owners, held_out)),
        *(examples_of(each, None)[0] for each in others),
    ]
    arrays = _train_network(parts, seed)
    arrays |= _fit_quality(arrays, parts[0])
    rough = QualityHead(arrays, {}, 0.0)
    qualities, probabilities = rough.outputs(
        held_out_examples.features[held_out_examples.conditions == -1]
    )
    thresholds: dict[ConditionName, float] = {
        name: max(0.5, float(np.quantile(probabilities[:, at], 1 - FALSE_ALARMS)))
        for at, name in enumerate(CONDITION_NAMES)
    }
    least = float(np.quantile(qualities, FALSE_ALARMS))
    return QualityHead(arrays, thresholds, least), held_out_examples


def _fit_quality(arrays: dict[str, Vectors], examples: QualityExamples) -> dict[str, Vectors]:
    """Fit the quality by least squares, from the length of the features and the conditions."""
    known = examples.at(~np.isnan(examples.qualities))
    seen = inputs(known.features)
    evidence = evidence_of_quality(seen, condition_logits(arrays, seen))
    columns = np.concatenate([evidence, np.ones((len(evidence), 1), np.float32)], axis=1)
    weights, *_ = np.linalg.lstsq(columns.astype(np.float64), known.qualities)
    weights = weights.astype(np.float32)
    return {"judge.weight": weights[:-1], "judge.bias": weights[-1:]}


def _references(vectors: Vectors, people: NDArray[np.int64]) -> Vectors:
    """Return for each photo the unit mean of its person's other photos, or NaN if too few."""
    references = np.full_like(vectors, np.nan)
    for person in np.unique(people):
        places = np.flatnonzero(people == person)
        if len(places) < FEWEST_PHOTOS:
            continue
        sums = vectors[places].sum(axis=0) - vectors[places]
        references[places] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return references


def _train_network(parts: Sequence[QualityExamples], seed: int) -> dict[str, Vectors]:
    """Train an MLP on standardised inputs, and return its weights for raw inputs."""
    torch.manual_seed(seed)
    samples = torch.from_numpy(np.concatenate([inputs(part.features) for part in parts]))
    conditions = torch.from_numpy(np.concatenate([part.conditions for part in parts]))
    targets = functional.one_hot(conditions + 1, 1 + len(CONDITION_NAMES))[:, 1:].float()
    mean, deviation = samples.mean(0), samples.std(0).clamp(min=1e-6)
    samples = (samples - mean) / deviation
    layers = {
        "inner": nn.Linear(samples.shape[1], HIDDEN),
        "bend": nn.ReLU(),
        "outer": nn.Linear(HIDDEN, len(CONDITION_NAMES)),
    }
    network = nn.Sequential(OrderedDict(layers))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        some = torch.randint(len(samples), (BATCH,))
        loss = functional.binary_cross_entropy_with_logits(network(samples[some]), targets[some])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    arrays = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    arrays["inner.weight"] /= deviation.numpy()
    arrays["inner.bias"] -= arrays["inner.weight"] @ mean.numpy()
    return {name: value.astype(np.float32) for name, value in arrays.items()}


def summary_lines(head: QualityHead, held_out_examples: QualityExamples) -> list[str]:
    """Return one line for each measure of the head on held-out people."""
    qualities, probabilities = head.outputs(held_out_examples.features)
    plain = held_out_examples.conditions == -1
    lines = []
    for at, name in enumerate(CONDITION_NAMES):
        with_condition = held_out_examples.conditions == at
        if not with_condition.any():
            continue
        detected = probabilities[:, at] >= head.thresholds[name]
        lines.append(
            f"{name:13} detected in {np.mean(detected[with_condition]):.1%} of photos with it, in "
            f"{np.mean(detected[plain]):.2%} of plain photos"
        )
    if plain.sum() < PLAIN_WANTED:
        lines.append(
            f"only {int(plain.sum()):,} plain photos of held-out people set the thresholds: with "
            f"fewer than {PLAIN_WANTED:,} (about {5 * PLAIN_WANTED:,} photos in all) expect more "
            "false alarms than shown above"
        )
    known = ~np.isnan(held_out_examples.qualities)
    agreement = float(np.corrcoef(qualities[known], held_out_examples.qualities[known])[0, 1])
    lines.append(f"quality       correlation with its target: {agreement:.2f}")
    return lines
