"""Train a quality head on invented photos with known conditions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.decision import CONDITION_NAMES, ConditionName
from models.errors import LikenessError
from models.evaluation.conditions import CaptureKind, Captures
from models.photo.quality_head import QualityHead
from models.training.quality import QualityExamples, summary_lines, train_quality

WIDTH = 32
PEOPLE, EACH = 60, 6
Taught = tuple[QualityHead, QualityExamples]


def unit(features: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)


def photos(seed: int) -> Captures:
    """Invent photos: a condition adds its own direction, and shortens the features."""
    random = np.random.default_rng(seed)
    faces = random.normal(size=(PEOPLE, WIDTH)).repeat(EACH, axis=0)
    plain = faces + 0.5 * random.normal(size=faces.shape)
    features: dict[CaptureKind, NDArray[np.float32]] = {"none": plain.astype(np.float32)}
    degraded: dict[ConditionName, NDArray[np.float32]] = {}
    for at, name in enumerate(CONDITION_NAMES):
        shown = 0.6 * plain + 4 * np.eye(WIDTH)[at] + 0.5 * random.normal(size=faces.shape)
        features[name], degraded[name] = shown.astype(np.float32), unit(shown)
    return Captures(unit(plain), degraded, features)


@pytest.fixture(scope="module")
def people() -> NDArray[np.int64]:
    return np.repeat(np.arange(PEOPLE), EACH)


@pytest.fixture(scope="module")
def taught(people: NDArray[np.int64]) -> Taught:
    return train_quality((photos(0), people), [photos(1)])


def test_conditions_are_seen_in_people_it_did_not_learn_from(taught: Taught) -> None:
    head, judged = taught
    _, probabilities = head.outputs(judged.features)
    for at, name in enumerate(CONDITION_NAMES):
        seen = probabilities[:, at] >= head.thresholds[name]
        assert seen[judged.conditions == at].mean() > 0.8
        assert seen[judged.conditions == -1].mean() <= 0.02
    *lines, warning, agreement = summary_lines(head, judged)
    assert len(lines) == len(CONDITION_NAMES)
    assert warning.startswith("only 72 plain photos")
    assert agreement.startswith("quality")


def test_quality_falls_with_what_the_condition_does_to_scores(taught: Taught) -> None:
    head, judged = taught
    qualities, _ = head.outputs(judged.features)
    plain = judged.conditions == -1
    assert qualities[plain].mean() > qualities[~plain].mean() + 0.1
    assert np.corrcoef(qualities, judged.qualities)[0, 1] > 0.5
    assert (qualities[plain] < head.least).mean() <= 0.02


def test_the_same_photos_teach_the_same_head(people: NDArray[np.int64], taught: Taught) -> None:
    again, _ = train_quality((photos(0), people), [photos(1)])
    assert again.thresholds == taught[0].thresholds


def test_few_people_are_refused() -> None:
    with pytest.raises(LikenessError, match="10 are needed"):
        train_quality((photos(0), np.zeros(PEOPLE * EACH, np.int64)))


def test_examples_of_unknown_people_have_no_quality() -> None:
    examples = QualityExamples(
        np.zeros((2, WIDTH), np.float32), np.array([0.5, np.nan], np.float32), np.array([-1, 0])
    )
    assert len(examples.at(~np.isnan(examples.qualities)).features) == 1
