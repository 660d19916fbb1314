"""`likeness cohort build`, `train-quality` and `evaluate --strangers`, on synthetic people."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.bundle import Manifest, load_bundle, read_manifest
from service.cli.app import EXIT_ERROR, app
from tests.checkpoints import write_bundle, write_vision_only
from tests.people import write_people


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data") / "crowd", people=120, photos=1)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("data") / "people")


@pytest.fixture(scope="module")
def with_cohort(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle with a cohort that the command made."""
    folder = tmp_path_factory.mktemp("bundles")
    bundle, out = write_bundle(folder / "plain"), folder / "with-cohort"
    result = likeness("cohort", "build", crowd, "--bundle", bundle, "--of", "many", "--out", out)
    assert result.exit_code == 0, result.output
    assert "likeness evaluate PHOTOS --bundle" in result.output
    return out


def likeness(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def manifest(folder: Path) -> Manifest:
    return read_manifest(folder)


def test_a_cohort_is_written_into_a_copy_that_loads_and_has_no_thresholds(
    with_cohort: Path,
) -> None:
    written, loaded = manifest(with_cohort), load_bundle(str(with_cohort))
    assert written.cohort is not None
    assert (written.cohort.photos, written.cohort.faces) == ("many", len(loaded.cohort.faces))
    assert loaded.cohort.digest == written.cohort.sha256
    assert loaded.operating_points == ()
    plain = load_bundle(str(with_cohort.parent / "plain"))
    assert loaded.fingerprint == plain.fingerprint


def test_the_target_of_the_result_has_to_be_named(crowd: Path, with_cohort: Path) -> None:
    for more in ([], ["--write", "--out", "copy"], ["--out", with_cohort]):
        result = likeness("cohort", "build", crowd, "--bundle", with_cohort, *more)
        assert result.exit_code == EXIT_ERROR
        assert "--out" in result.output


def test_a_bare_encoder_gets_a_cohort_in_a_bundle_that_loads(crowd: Path, tmp_path: Path) -> None:
    bare, out = write_vision_only(tmp_path / "bare"), tmp_path / "bundle"
    result = likeness("cohort", "build", crowd, "--bundle", bare, "--data", "many", "--out", out)
    assert result.exit_code == 0, result.output
    assert len(load_bundle(str(out)).cohort.faces) > 0


def test_a_folder_below_counts_as_one_person(people: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    result = likeness("cohort", "build", people, "--bundle", bundle, "--write")
    assert "Photos of 12 people are too few" in result.output.replace("\n", " ")


def test_a_cohort_of_few_people_is_refused(people: Path, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    result = likeness("cohort", "build", people / "p00", "--bundle", bundle, "--write")
    assert result.exit_code == EXIT_ERROR
    assert "too few for a cohort" in result.output
    assert manifest(bundle).cohort is None


def test_evaluation_measures_by_the_cohort_and_under_every_condition(
    with_cohort: Path, people: Path, crowd: Path, tmp_path: Path
) -> None:
    images = [path.relative_to(crowd) for path in sorted(crowd.rglob("*.jpg"))]
    rows = [f"{image},everybody" for image in images * 3]
    (crowd / "groups.csv").write_text("\n".join(["image,who", *rows]))
    result = likeness(
        *("evaluate", people, "--strangers", crowd / "groups.csv", "--bundle", with_cohort),
        *("--report", tmp_path / "report", "--out", tmp_path / "measured", "--of", "a crowd"),
    )
    assert result.exit_code == 0, result.output
    calibration = manifest(tmp_path / "measured").calibration
    assert calibration is not None
    assert calibration.data == "a crowd"
    assert {row.group for row in calibration.groups if row.data} == {"who everybody"}
    conditions = {row.condition for row in calibration.conditions}
    assert conditions >= {"none", "blurred", "masked", "dark_glasses", "small"}
    assert all(row.match_rate is not None for row in calibration.conditions)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<h2>Conditions</h2>" in page
    assert "FMR, both masked" in result.output
    assert load_bundle(str(tmp_path / "measured")).cohort.digest != ""


def test_strangers_alone_need_the_operating_points_of_the_bundle(
    with_cohort: Path, crowd: Path, tmp_path: Path
) -> None:
    (crowd / "one.csv").write_text("image,kind\np00/0.jpg,a\np01/0.jpg,a\n")
    result = likeness(
        *("evaluate", "--strangers", crowd / "one.csv", "--bundle", with_cohort),
        *("--report", tmp_path / "report"),
    )
    assert result.exit_code == EXIT_ERROR
    assert "no operating points" in result.output


def test_small_groups_and_kept_points_are_reported(
    with_cohort: Path, people: Path, crowd: Path, tmp_path: Path
) -> None:
    (crowd / "few.csv").write_text("image,kind\np00/0.jpg,a\np01/0.jpg,a\np02/0.jpg,b\n")
    arguments = ("evaluate", people, "--no-conditions", "--report", tmp_path / "report")
    first = likeness(*arguments, "--bundle", with_cohort, "--out", tmp_path / "measured")
    assert first.exit_code == 0, first.output
    before = manifest(tmp_path / "measured").calibration
    result = likeness(
        *(*arguments, "--bundle", tmp_path / "measured", "--strangers", crowd / "few.csv"),
        *("--keep-points", "--write"),
    )
    assert result.exit_code == 0, result.output
    assert "too few photos for a rate, which takes 100: kind a (2), kind b (1)" in result.output
    assert "  kept" in result.output
    after = manifest(tmp_path / "measured").calibration
    assert before is not None
    assert after is not None
    assert after.operating_points == before.operating_points


def test_evaluate_needs_photos_or_strangers(with_cohort: Path) -> None:
    result = likeness("evaluate", "--bundle", with_cohort)
    assert result.exit_code == EXIT_ERROR
    assert "--strangers" in result.output


def test_a_quality_head_is_trained_and_loaded(
    with_cohort: Path, people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "judged"
    result = likeness("train-quality", people, "--bundle", with_cohort, "--out", out)
    assert result.exit_code == 0, result.output
    assert "correlation with its target" in result.output
    loaded = load_bundle(str(out))
    assert loaded.quality is not None
    assert loaded.cohort.digest == load_bundle(str(with_cohort)).cohort.digest
