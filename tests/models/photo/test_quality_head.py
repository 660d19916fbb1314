"""The quality head: what it stores, what it returns, and what it refuses to load."""

from pathlib import Path

import numpy as np
import pytest

from models.decision import CONDITION_NAMES
from models.errors import InvalidBundle
from models.photo.quality_head import (
    QUALITY_FILE,
    LearnedQuality,
    QualityHead,
    condition_issues,
    read_quality,
    write_quality,
)

WIDTH = 6


@pytest.fixture
def head() -> QualityHead:
    random = np.random.default_rng(0)
    outputs = len(CONDITION_NAMES)
    shapes = {
        "inner.weight": (4, WIDTH + 1),
        "inner.bias": (4,),
        "outer.weight": (outputs, 4),
        "outer.bias": (outputs,),
        "judge.weight": (1 + outputs,),
        "judge.bias": (1,),
    }
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return QualityHead(tensors, {"masked": 0.0, "blurred": 1.1}, 2.0)


def test_conditions_are_those_that_reach_their_threshold(head: QualityHead) -> None:
    capture = head(np.ones(WIDTH, np.float32))
    assert capture.conditions == {"masked"}
    assert capture.is_poor


def test_written_head_reads_back(head: QualityHead, tmp_path: Path) -> None:
    card = write_quality(tmp_path, head, "drawn at random")
    held = read_quality(tmp_path, card, WIDTH)
    features = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)
    for one, other in zip(held.outputs(features), head.outputs(features), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (held.thresholds, held.least) == (head.thresholds, head.least)


def test_changed_head_is_refused(head: QualityHead, tmp_path: Path) -> None:
    card = write_quality(tmp_path, head, "drawn at random")
    (tmp_path / QUALITY_FILE).write_bytes(b"another")
    with pytest.raises(InvalidBundle, match="not the quality head"):
        read_quality(tmp_path, card, WIDTH)


def test_head_for_other_features_is_refused(head: QualityHead, tmp_path: Path) -> None:
    card = write_quality(tmp_path, head, "drawn at random")
    with pytest.raises(InvalidBundle, match="features of 7 numbers"):
        read_quality(tmp_path, card, WIDTH + 1)


def test_missing_head_is_refused(head: QualityHead, tmp_path: Path) -> None:
    card = write_quality(tmp_path, head, "drawn at random")
    (tmp_path / QUALITY_FILE).unlink()
    with pytest.raises(InvalidBundle, match="cannot be read"):
        read_quality(tmp_path, card, WIDTH)


def test_what_is_stored_beside_a_template_says_the_same() -> None:
    capture = LearnedQuality(0.7, frozenset({"masked", "dark"}))
    assert LearnedQuality.of_measures({"sharpness": 9.0} | capture.measures()) == capture
    assert LearnedQuality.of_measures({"sharpness": 9.0}) is None


def test_every_condition_comes_with_advice() -> None:
    assert [issue.code for issue in condition_issues(CONDITION_NAMES)] == list(CONDITION_NAMES)
    assert all(issue.advice.endswith(".") for issue in condition_issues(CONDITION_NAMES))
