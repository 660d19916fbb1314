"""More photos give fewer errors, and strangers do not match more often."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.cohort import NO_COHORT
from models.decision import OperatingPoint, Rate, Template, similarity
from models.evaluation.fusion import COUNTS, fusion_rates

RATE = Rate(0.1, 0.1, 0.1)
WIDTH = 32


@pytest.fixture(scope="module")
def bare(sface_bundle: Bundle) -> Bundle:
    calibration = sface_bundle.manifest.calibration
    assert calibration is not None
    # Vectors are random: two strangers have a cosine of 0.
    calibration = calibration.model_copy(update={"strangers_mean": 0.0})
    manifest = sface_bundle.manifest.model_copy(update={"calibration": calibration})
    return replace(sface_bundle, manifest=manifest, cohort=NO_COHORT, quality=None)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def photos(people: int, each: int, noise: float, bundle: Bundle) -> list[Template]:
    random = np.random.default_rng(0)
    faces = unit(random.normal(size=(people, WIDTH)))
    taken = faces.repeat(each, axis=0) + noise * unit(random.normal(size=(people * each, WIDTH)))
    return [bundle.template(vector) for vector in unit(taken)]


def test_more_photos_on_either_side_miss_fewer_people(bare: Bundle) -> None:
    templates = photos(30, 12, 1.4, bare)
    point = OperatingPoint("fmr_1e-3", 0.5, RATE, RATE)
    rows = fusion_rates(templates, np.repeat(np.arange(30), 12), bare, [point], "invented")
    assert [(row.probes, row.templates) for row in rows] == [(a, b) for a in COUNTS for b in COUNTS]
    fnmr = {(row.probes, row.templates): row.fnmr for row in rows}
    assert fnmr[1, 1] > fnmr[1, 3] > fnmr[3, 3]
    assert fnmr[1, 1] > fnmr[3, 1]
    # A threshold means the same for any number of photos.
    fmr = [row.fmr for row in rows]
    assert max(fmr) < 3 * fmr[0] + 0.003


def test_people_with_few_photos_take_no_part(bare: Bundle) -> None:
    templates = photos(30, 3, 1.0, bare)
    point = OperatingPoint("fmr_1e-3", 0.5, RATE, RATE)
    assert fusion_rates(templates, np.repeat(np.arange(30), 3), bare, [point], "") == ()


def test_one_template_stays_what_it_is(bare: Bundle) -> None:
    (template,) = photos(1, 1, 1.0, bare)
    assert bare.fuse([template]) is template


def test_the_fused_vector_is_the_mean_and_knows_how_well_its_photos_agree(bare: Bundle) -> None:
    templates = photos(1, 3, 1.0, bare)
    mean = np.mean([each.vector for each in templates], axis=0)
    fused = bare.fuse(templates)
    np.testing.assert_allclose(fused.vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert fused.coherence == pytest.approx(np.linalg.norm(mean), abs=1e-6)


def test_photos_judged_better_count_for_more(bare: Bundle) -> None:
    good, poor = photos(2, 1, 0.0, bare)
    fused = bare.fuse([replace(good, quality=0.9), replace(poor, quality=0.3)])
    assert similarity(fused, good) > similarity(fused, poor)
    unjudged = bare.fuse([replace(good, quality=0.9), poor])
    assert similarity(unjudged, good) == pytest.approx(similarity(unjudged, poor), abs=1e-6)


def test_only_what_is_wrong_with_all_photos_is_wrong_with_the_result(bare: Bundle) -> None:
    one, other = photos(1, 2, 1.0, bare)
    masked = replace(one, conditions=frozenset({"masked", "dark"}))
    assert bare.fuse([masked, other]).conditions == frozenset()
    dark = replace(other, conditions=frozenset({"dark"}))
    assert bare.fuse([masked, dark]).conditions == {"dark"}


def test_photos_that_cancel_each_other_out_score_as_strangers_do(bare: Bundle) -> None:
    (one,) = photos(1, 1, 0.0, bare)
    fused = bare.fuse([one, replace(one, vector=-one.vector)])
    assert fused.strangers_mean is not None
    assert similarity(fused, one) == pytest.approx(fused.strangers_mean)


def test_photos_below_the_threshold_are_fused_as_well(bare: Bundle) -> None:
    one, other = (replace(each, quality=0.0) for each in photos(1, 2, 0.5, bare))
    fused = bare.fuse([one, other])
    np.testing.assert_allclose(np.linalg.norm(fused.vector), 1, rtol=1e-5)
    assert similarity(fused, one) == pytest.approx(similarity(fused, other), abs=1e-6)
