import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.bundle import load_bundle
from models.errors import InvalidBundle
from models.weights import SFACE, locate
from service.cli.app import EXIT_ERROR, app
from tests.networks import write_network
from tests.photos import photo_bytes


def new(*words: object) -> Result:
    return CliRunner().invoke(app, ["bundle", "new", *map(str, words)])


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle made from SFace's file; copy it before you change it."""
    folder = tmp_path_factory.mktemp("bundles") / "mine"
    done = new(locate(SFACE), "--out", folder, "--licence", "Apache-2.0")
    assert done.exit_code == 0, done.output
    assert "likeness evaluate PHOTOS" in done.output
    return folder


def test_the_bundle_of_a_network_has_its_fingerprint(mine: Path) -> None:
    bundle = load_bundle(str(mine))
    assert (bundle.dimension, bundle.detector.name) == (128, "yunet")
    assert bundle.fingerprint == load_bundle("sface").fingerprint


def test_a_bundle_records_pixels_template_and_licence(mine: Path) -> None:
    manifest = json.loads((mine / "bundle.json").read_text())
    encoder, pixels = manifest["encoder"], manifest["pixels"]
    assert (encoder["input"], encoder["licence"]) == ("data", "Apache-2.0")
    assert (pixels["channels"], pixels["template"], pixels["size"]) == ("rgb", "arcface", 112)


def test_an_altered_network_is_not_served(mine: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(mine, tmp_path / "altered")
    with (folder / "encoder.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InvalidBundle, match="SHA-256"):
        load_bundle(str(folder))


def test_a_network_that_does_not_separate_people_is_refused(tmp_path: Path) -> None:
    network = write_network(tmp_path / "net.onnx", blind=True)
    done = new(network, "--out", tmp_path / "mine")
    assert done.exit_code == EXIT_ERROR
    assert not (tmp_path / "mine").exists()


def test_photos_without_faces_are_listed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "grace.jpg").write_bytes(photo_bytes("grace"))
    (tmp_path / "photos" / "cut.jpg").write_bytes(photo_bytes("grace")[:5000])
    done = new(locate(SFACE), "--out", tmp_path / "mine", "--photos", tmp_path / "photos")
    assert done.exit_code == EXIT_ERROR
    assert "At least two photos" in done.output


@pytest.mark.parametrize("taken", ["a file", "a bundle", "below a file"])
def test_an_existing_folder_is_refused_before_anything_is_measured(
    taken: str, mine: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    out = {"a file": tmp_path / "file", "a bundle": mine, "below a file": tmp_path / "file" / "x"}
    (tmp_path / "net.onnx").write_bytes(b"never read")
    done = new(tmp_path / "net.onnx", "--out", out[taken])
    assert done.exit_code == EXIT_ERROR
    assert str(out[taken]) in done.output.replace("\n", "")


def test_mean_without_scale_is_refused(tmp_path: Path) -> None:
    done = new(locate(SFACE), "--out", tmp_path / "mine", "--mean", 127.5)
    assert done.exit_code == EXIT_ERROR
    assert "--scale" in done.output


@pytest.mark.faces
def test_the_order_of_colours_of_a_network_is_found(faces: Path, tmp_path: Path) -> None:
    from zipfile import ZipFile

    with ZipFile(faces / "identities.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        archive.extractall(tmp_path / "people", names[::150])
    people = tmp_path / "people"
    done = new(faces / "arcface_512.onnx", "--out", tmp_path / "mine", "--photos", people)
    assert done.exit_code == 0, done.output
    bundle = load_bundle(str(tmp_path / "mine"))
    assert bundle.dimension == 512
    assert bundle.manifest.pixels.channels == "bgr"
