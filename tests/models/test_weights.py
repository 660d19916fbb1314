import shutil
from pathlib import Path

import pytest

from models.bundle import load_bundle
from models.errors import InvalidBundle
from models.weights import SFACE, YUNET, Weights, locate

BOTH = pytest.mark.parametrize("weights", [YUNET, SFACE], ids=lambda each: each.name)


@BOTH
def test_the_installed_file_is_found_without_importing_its_package(weights: Weights) -> None:
    assert locate(weights).name == weights.shipped


@BOTH
def test_a_folder_of_ones_own_takes_its_place(weights: Weights, tmp_path: Path) -> None:
    shutil.copy(locate(weights), tmp_path)
    assert locate(weights, tmp_path) == tmp_path / weights.shipped


@BOTH
def test_a_folder_without_the_file_is_told_with_what_belongs_there(
    weights: Weights, tmp_path: Path
) -> None:
    with pytest.raises(InvalidBundle, match=weights.shipped) as refused:
        locate(weights, tmp_path)
    assert "LIKENESS_WEIGHTS" in refused.value.sentence


@BOTH
def test_an_altered_file_is_told_with_both_hashes(weights: Weights, tmp_path: Path) -> None:
    data = bytearray(locate(weights).read_bytes())
    data[-1] ^= 1
    (tmp_path / weights.shipped).write_bytes(data)
    with pytest.raises(InvalidBundle, match=weights.hashes[weights.shipped]) as refused:
        locate(weights, tmp_path)
    assert str(tmp_path / weights.shipped) in refused.value.sentence
    assert "copy it there again" in refused.value.sentence


def test_a_bundle_takes_both_networks_from_the_folder(tmp_path: Path) -> None:
    for weights in (YUNET, SFACE):
        shutil.copy(locate(weights), tmp_path)
    bundle = load_bundle("sface", weights=tmp_path)
    assert bundle.detector.weights == tmp_path / YUNET.shipped
    assert bundle.fingerprint == load_bundle("sface").fingerprint
