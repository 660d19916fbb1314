import shutil
from pathlib import Path

import pytest

from models.bundle import Calibration, load_bundle, read_manifest, write_manifest
from models.decision import OperatingPoint, Rate
from models.errors import LikenessError
from models.evaluate import app, write_calibration
from tests.checkpoints import write_vision_only

RATE = Rate(0.1, 0.05, 0.2)


def test_the_measurement_is_written_into_the_bundle_when_asked(
    labelled_folder: Path, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle_folder, tmp_path / "bundle"))
    app(
        [str(bundle), "--photos", str(labelled_folder), "--data", "six photos", "--write"],
        standalone_mode=False,
    )
    written = read_manifest(bundle).calibration
    assert written is not None
    assert (written.data, written.images) == ("six photos", 6)


def test_six_photos_written_into_a_bundle_leave_its_operating_points_standing(
    labelled_folder: Path,
    six_photos_calibration: Calibration,
    tiny_bundle_folder: Path,
    tmp_path: Path,
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle_folder, tmp_path / "bundle"))
    point = OperatingPoint("fmr_1e-4", 0.9, RATE, RATE)
    old = six_photos_calibration.model_copy(update={"operating_points": (point,)})
    write_manifest(bundle, read_manifest(bundle).model_copy(update={"calibration": old}))
    app(
        [str(bundle), "--photos", str(labelled_folder), "--data", "six photos", "--write"],
        standalone_mode=False,
    )
    written = read_manifest(bundle).calibration
    assert written is not None
    assert [(kept.name, kept.threshold) for kept in written.operating_points] == [("fmr_1e-4", 0.9)]


def test_the_measurement_is_printed_and_nothing_written_unless_asked(
    labelled_folder: Path, tiny_bundle_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tiny_bundle_folder / "bundle.json").read_bytes()
    app(
        [str(tiny_bundle_folder), "--photos", str(labelled_folder), "--data", "six photos"],
        standalone_mode=False,
    )
    assert Calibration.model_validate_json(capsys.readouterr().out).images == 6
    assert (tiny_bundle_folder / "bundle.json").read_bytes() == before


def test_a_calibrated_copy_leaves_the_bundle_as_it_was(
    six_photos_calibration: Calibration, tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(str(tiny_bundle_folder))
    write_calibration(str(tiny_bundle_folder), bundle, six_photos_calibration, tmp_path / "copy")
    copy = load_bundle(str(tmp_path / "copy"))
    assert copy.manifest.calibration == six_photos_calibration
    assert copy.fingerprint == bundle.fingerprint
    assert read_manifest(tiny_bundle_folder).calibration is None


def test_a_bare_encoder_becomes_a_bundle_of_its_own(
    six_photos_calibration: Calibration, tmp_path: Path
) -> None:
    source = str(write_vision_only(tmp_path / "encoder"))
    bundle = load_bundle(source)
    write_calibration(source, bundle, six_photos_calibration, tmp_path / "bundle")
    assert load_bundle(str(tmp_path / "bundle")).fingerprint == bundle.fingerprint


def test_a_bare_encoder_has_no_place_for_a_calibration(
    six_photos_calibration: Calibration, tmp_path: Path
) -> None:
    source = str(write_vision_only(tmp_path / "encoder"))
    with pytest.raises(LikenessError, match="name a folder"):
        write_calibration(source, load_bundle(source), six_photos_calibration)
