from dataclasses import replace

import numpy as np
import pytest

from models.decision import Template, similarities, similarity
from models.errors import FingerprintMismatch


def template(x: float, y: float, fingerprint: str = "a" * 64) -> Template:
    return Template(np.array([x, y], np.float32), fingerprint)


@pytest.mark.parametrize(
    ("other", "cosine"),
    [(template(1, 0), 1.0), (template(0.6, 0.8), 0.6), (template(0, 1), 0), (template(-1, 0), -1)],
)
def test_similarity_is_the_cosine(other: Template, cosine: float) -> None:
    assert similarity(template(1, 0), other) == pytest.approx(cosine)


def test_what_both_have_in_common_with_everybody_is_subtracted() -> None:
    probe, reference = template(1, 0), template(0.6, 0.8)
    normalised = similarity(replace(probe, mean=0.3), replace(reference, mean=0.1))
    assert normalised == pytest.approx(0.6 - 0.2)


def test_fused_templates_are_brought_back_to_the_spread_of_single_ones() -> None:
    probe, reference = template(1, 0), template(0.6, 0.8)
    probe = replace(probe, coherence=0.81, strangers=-0.2)
    fused = similarity(probe, replace(reference, mean=0.2, strangers=-0.2))
    assert fused == pytest.approx(-0.2 + 0.81**0.2 * (0.6 - 0.1 + 0.2))


def test_without_the_mean_of_strangers_fused_templates_score_as_they_are() -> None:
    fused = similarity(replace(template(1, 0), coherence=0.81), template(0.6, 0.8))
    assert fused == pytest.approx(0.6)


def test_all_similarities_at_once_are_those_of_pairs() -> None:
    sides = [
        Template(vector, "f", mean, coherence, strangers=-0.1)
        for vector, mean, coherence in (
            (np.array([1, 0], np.float32), 0.2, 1.0),
            (np.array([0.6, 0.8], np.float32), 0.1, 0.7),
            (np.array([0, 1], np.float32), 0.4, 0.9),
        )
    ]
    expected = [[similarity(a, b) for b in sides] for a in sides]
    np.testing.assert_allclose(similarities(sides, sides), expected, atol=1e-6)


def test_rounding_never_leads_past_one() -> None:
    long = template(1.0000001, 0)
    assert similarity(long, long) == 1.0


def test_templates_of_different_bundles_are_never_compared() -> None:
    with pytest.raises(FingerprintMismatch, match=r"bbbbbbbbbbbb.*aaaaaaaaaaaa.*enrol"):
        similarity(template(1, 0), template(1, 0, "b" * 64))
