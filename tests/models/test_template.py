import numpy as np
import pytest

from models.errors import FingerprintMismatch
from models.template import Template, similarity


def template(x: float, y: float, fingerprint: str = "a" * 64) -> Template:
    return Template(np.array([x, y], np.float32), fingerprint)


@pytest.mark.parametrize(
    ("other", "cosine"),
    [(template(1, 0), 1.0), (template(0.6, 0.8), 0.6), (template(0, 1), 0), (template(-1, 0), -1)],
)
def test_similarity_is_the_cosine(other: Template, cosine: float) -> None:
    assert similarity(template(1, 0), other) == pytest.approx(cosine)


def test_rounding_never_leads_past_one() -> None:
    long = template(1.0000001, 0)
    assert similarity(long, long) == 1.0


def test_templates_of_different_bundles_are_never_compared() -> None:
    with pytest.raises(FingerprintMismatch, match=r"bbbbbbbbbbbb.*aaaaaaaaaaaa.*enrol"):
        similarity(template(1, 0), template(1, 0, "b" * 64))
