import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.bundle import (
    BUILTIN_FOLDER,
    BUILTIN_NAMES,
    Bundle,
    Calibration,
    EncoderReference,
    choose_bundle,
    load_bundle,
    read_manifest,
    save_weights,
    write_manifest,
)
from models.decision import OperatingPoint, Rate
from models.embedder import Embedder
from models.encoder.clip import ClipEncoder
from models.encoder.pixels import PixelSpec
from models.errors import InvalidBundle
from models.weights import has_dlib
from tests.checkpoints import (
    SIZE,
    WIDTH,
    tiny_head,
    tiny_manifest,
    vision_network,
    write_bundle,
    write_full,
    write_vision_only,
)


@pytest.fixture
def folder(tiny_bundle_folder: Path, tmp_path: Path) -> Path:
    """Return a bundle directory of the test's own."""
    return Path(shutil.copytree(tiny_bundle_folder, tmp_path / "bundle"))


def calibration(accuracy: float = 0.9) -> Calibration:
    rate = Rate(0.1, 0.05, 0.2)
    return Calibration(
        data="nothing",
        identities=2,
        images=4,
        genuine_pairs=2,
        impostor_pairs=4,
        failure_to_enrol=0,
        accuracy=accuracy,
        eer=0.1,
        operating_points=(OperatingPoint("fmr_1e-2", 0.5, rate, rate),),
    )


def head_of(bundle: Bundle) -> dict[str, torch.Tensor]:
    assert bundle.head is not None
    return dict(bundle.head.layers.state_dict())


# Saving and loading


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = tiny_manifest(calibration=calibration(), commit="0123abc")
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_weights_are_loaded_as_they_were_saved(folder: Path) -> None:
    bundle = load_bundle(str(folder))
    assert isinstance(bundle.encoder, ClipEncoder)
    saved = (vision_network().state_dict(), tiny_head(WIDTH, 24, 16).layers.state_dict())
    for loaded, wanted in zip((bundle.encoder.network.state_dict(), head_of(bundle)), saved,
                              strict=True):  # fmt: skip
        assert all(torch.equal(loaded[name], wanted[name]) for name in wanted)


def test_a_bundle_says_how_long_its_vectors_are(folder: Path) -> None:
    assert load_bundle(str(folder)).dimension == 16


def test_a_bundle_has_the_operating_points_of_its_calibration(folder: Path) -> None:
    write_manifest(folder, tiny_manifest(calibration=calibration()))
    assert [p.name for p in load_bundle(str(folder)).operating_points] == ["fmr_1e-2"]


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_the_built_in_manifests_are_valid(name: str) -> None:
    assert read_manifest(BUILTIN_FOLDER / name).name == name


@pytest.mark.parametrize("name", ["sface", "builtin", pytest.param("dlib", marks=pytest.mark.dlib)])
def test_a_built_in_bundle_is_loaded_by_name(name: str) -> None:
    bundle = load_bundle(name)
    assert (bundle.manifest.name, bundle.dimension) == (name, 128)


@pytest.mark.parametrize("name", ["sface", "builtin", pytest.param("dlib", marks=pytest.mark.dlib)])
def test_the_fingerprint_of_a_built_in_bundle_is_noted_in_its_manifest(name: str) -> None:
    assert load_bundle(name).fingerprint == read_manifest(BUILTIN_FOLDER / name).fingerprint


def test_a_bundle_keeps_the_detector_it_was_measured_with(folder: Path) -> None:
    assert load_bundle(str(folder)).detector.name == "yunet"


def test_a_bundle_of_before_detectors_were_noted_takes_what_is_installed(folder: Path) -> None:
    write_manifest(folder, tiny_manifest(detector=None))
    assert load_bundle(str(folder)).detector.name == ("dlib" if has_dlib() else "yunet")


# Without a head


def test_a_bundle_without_a_head_gives_features_for_vectors(tmp_path: Path) -> None:
    save_weights(tmp_path, ClipEncoder(vision_network()), None)
    write_manifest(tmp_path, tiny_manifest(head=None))
    bundle = load_bundle(str(tmp_path))
    assert (bundle.head, bundle.dimension) == (None, WIDTH)


@pytest.mark.parametrize("write", [write_vision_only, write_full])
def test_a_bare_clip_is_a_bundle_without_points(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    bundle = load_bundle(str(write(tmp_path)))
    assert (bundle.head, bundle.operating_points, bundle.manifest.pixels.size) == (None, (), SIZE)


def test_a_hub_id_out_of_reach_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidBundle, match="openai/clip-vit-base-patch32"):
        load_bundle("openai/clip-vit-base-patch32")


# Refusals


def test_a_head_that_does_not_fit_is_refused_with_both_numbers(folder: Path) -> None:
    save_weights(folder, ClipEncoder(vision_network()), tiny_head(48, 16))
    write_manifest(folder, tiny_manifest(head=(48, 16)))
    with pytest.raises(InvalidBundle, match="48 features, but the encoder gives 32"):
        load_bundle(str(folder))


def test_crops_that_do_not_fit_the_encoder_are_refused_with_both_numbers(folder: Path) -> None:
    write_manifest(folder, tiny_manifest(pixels=PixelSpec(size=224, margin=0.3)))
    with pytest.raises(InvalidBundle, match="224 pixels, but its encoder needs 32"):
        load_bundle(str(folder))


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def damage_weights(path: Path, value: float) -> None:
    """Change one number of every tensor."""
    tensors = load_file(path)
    for tensor in tensors.values():
        tensor.view(-1)[0] = value
    save_file(tensors, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-64])


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        pytest.param(
            lambda folder: (folder / "bundle.json").write_bytes(b"\xff{"),
            r"bundle\.json",
            id="manifest is no JSON",
        ),
        pytest.param(
            lambda folder: edit_manifest(folder, pixels={"margin": 0.3}),
            r"pixels\.size",
            id="manifest lacks a field",
        ),
        pytest.param(
            lambda folder: edit_manifest(folder, colour="red"), "colour", id="unknown field"
        ),
        pytest.param(lambda folder: edit_manifest(folder, format=2), "format", id="another format"),
        pytest.param(
            lambda folder: (folder / "head.safetensors").write_bytes(b"junk"),
            r"head\.safetensors cannot be read",
            id="damaged head",
        ),
        pytest.param(
            lambda folder: save_file({"x": torch.zeros(1)}, folder / "head.safetensors"),
            "contains no linear layers",
            id="not a head",
        ),
        pytest.param(
            lambda folder: damage_weights(folder / "head.safetensors", math.nan),
            r"head\.safetensors contains weights that are not finite numbers",
            id="head of NaN",
        ),
        pytest.param(
            lambda folder: damage_weights(folder / "encoder" / "model.safetensors", math.inf),
            "encoder` contains weights that are not finite numbers",
            id="infinite encoder",
        ),
        pytest.param(
            lambda folder: cut(folder / "encoder" / "model.safetensors"),
            "No CLIP vision encoder could be loaded",
            id="encoder is cut short",
        ),
        pytest.param(
            lambda folder: damage_weights(folder / "head.safetensors", 0.5),
            r"is damaged or a different one.*Copy the bundle again",
            id="weights that the manifest was not written for",
        ),
        pytest.param(
            lambda folder: edit_manifest(folder, cohort={"nearest": math.nan}),
            r"bundle\.json cannot be used",
            id="manifest with NaN",
        ),
        pytest.param(
            lambda folder: (folder / "head.safetensors").unlink(),
            r"head\.safetensors is missing",
            id="head is missing",
        ),
        pytest.param(
            lambda folder: edit_manifest(folder, head=[32, 16]),
            r"widths \(32, 24, 16\); bundle.json says \(32, 16\)",
            id="another head",
        ),
        pytest.param(
            lambda folder: shutil.rmtree(folder / "encoder"),
            "encoder is missing",
            id="encoder is missing",
        ),
        pytest.param(
            lambda folder: (folder / "encoder" / "model.safetensors").unlink(),
            "model.safetensors",
            id="encoder's weights are missing",
        ),
        pytest.param(
            lambda folder: edit_manifest(folder, encoder={"kind": "clip", "source": "no/where"}),
            "no/where",
            id="encoder is out of reach",
        ),
    ],
)
def test_a_damaged_bundle_is_refused(
    folder: Path, harm: Callable[[Path], object], sentence: str
) -> None:
    edit_manifest(folder, fingerprint=load_bundle(str(folder)).fingerprint)
    harm(folder)
    with pytest.raises(InvalidBundle, match=sentence):
        load_bundle(str(folder))


def test_a_manifest_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"bundle\.json cannot be used"):
        read_manifest(tmp_path)


# The fingerprint


@pytest.fixture(scope="module")
def fingerprint(tiny_bundle_folder: Path) -> str:
    return load_bundle(str(tiny_bundle_folder)).fingerprint


def test_a_fingerprint_is_a_sha_256(fingerprint: str) -> None:
    assert len(bytes.fromhex(fingerprint)) == 32


def change_the_encoder(folder: Path) -> None:
    save_weights(folder, ClipEncoder(vision_network(seed=9)), None)


def change_the_head(folder: Path) -> None:
    tensors = load_file(folder / "head.safetensors")
    tensors["2.bias"][3] += 0.5
    save_file(tensors, folder / "head.safetensors")


def remove_the_head(folder: Path) -> None:
    (folder / "head.safetensors").unlink()
    write_manifest(folder, tiny_manifest(head=None))


def change_pixels(**changes: object) -> Callable[[Path], None]:
    spec = tiny_manifest().pixels.as_dict() | changes
    return lambda folder: edit_manifest(folder, pixels=spec)


def change_the_activation(folder: Path) -> None:
    edit_config(folder, hidden_act="gelu")


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change_the_encoder, id="encoder"),
        pytest.param(change_the_head, id="head"),
        pytest.param(remove_the_head, id="no head"),
        pytest.param(change_pixels(margin=0.31), id="margin"),
        pytest.param(change_pixels(mirror=False), id="mirror"),
        pytest.param(change_pixels(mean=(0.5, 0.5, 0.5)), id="mean"),
        pytest.param(change_pixels(std=(0.5, 0.5, 0.5)), id="std"),
        pytest.param(change_the_activation, id="activation"),
    ],
)
def test_the_fingerprint_changes_with_what_changes_vectors(
    folder: Path, fingerprint: str, change: Callable[[Path], None]
) -> None:
    change(folder)
    assert load_bundle(str(folder)).fingerprint != fingerprint


def rename(folder: Path) -> None:
    edit_manifest(folder, name="other", trained_on="other", commit="4567def")


def store_in_half_precision(folder: Path) -> None:
    encoder, head = ClipEncoder(vision_network().half()), tiny_head(WIDTH, 24, 16).half()
    save_weights(folder, encoder, head)


def shard(folder: Path) -> None:
    (folder / "encoder" / "model.safetensors").unlink()
    vision_network().save_pretrained(folder / "encoder", max_shard_size="20KB")


def put_it_into_a_full_clip(folder: Path) -> None:
    shutil.rmtree(folder / "encoder")
    write_full(folder / "encoder")


def reorder(folder: Path) -> None:
    for path in (folder / "encoder" / "model.safetensors", folder / "head.safetensors"):
        save_file(dict(reversed(load_file(path).items())), path, {"format": "pt"})


@pytest.mark.parametrize(
    "change", [rename, store_in_half_precision, shard, put_it_into_a_full_clip, reorder]
)
def test_the_fingerprint_does_not_change_with_what_leaves_vectors_alone(
    folder: Path, fingerprint: str, change: Callable[[Path], None]
) -> None:
    change(folder)
    assert load_bundle(str(folder)).fingerprint == fingerprint


def test_the_fingerprint_does_not_change_with_the_precision_of_serving(
    folder: Path, fingerprint: str
) -> None:
    embedder = Embedder(load_bundle(str(folder)), torch.device("cpu"), "bf16")
    assert embedder.bundle.fingerprint == fingerprint


# Which bundle is served by default


def measured(folder: Path, fnmr: dict[str, float | None]) -> Path:
    """Write the manifests of built-in bundles with these FNMR at FMR 1e-4, or with no points."""
    for name, value in fnmr.items():
        point = OperatingPoint("fmr_1e-4", 0.9, Rate(1e-4, 0, 1), Rate(value or 0, 0, 1))
        points = () if value is None else (point,)
        found = calibration().model_copy(update={"operating_points": points})
        (folder / name).mkdir()
        write_manifest(folder / name, tiny_manifest(calibration=found))
    return folder


@pytest.mark.parametrize(
    ("sface", "builtin", "name"),
    [(0.02, 0.6, "sface"), (0.6, 0.02, "builtin"), (0.3, None, "sface"), (None, 0.3, "builtin")],
)
def test_the_default_is_decided_by_what_was_measured(
    tmp_path: Path, sface: float | None, builtin: float | None, name: str
) -> None:
    rates = {"sface": sface, "builtin": builtin, "dlib": 0.9}
    assert choose_bundle(None, measured(tmp_path, rates))[0] == name


@pytest.mark.dlib
def test_dlibs_bundle_can_be_the_default_where_it_is_installed(tmp_path: Path) -> None:
    assert (
        choose_bundle(None, measured(tmp_path, {"sface": 0.2, "builtin": 0.3, "dlib": 0.1}))[0]
        == "dlib"
    )


def test_an_encoder_that_was_not_measured_is_not_the_default(tmp_path: Path) -> None:
    folder = measured(tmp_path, {"builtin": 0.99, "dlib": None})
    (folder / "sface").mkdir()
    write_manifest(folder / "sface", tiny_manifest(calibration=None))
    assert choose_bundle(None, folder)[0] == "builtin"


def test_the_default_is_sface() -> None:
    assert choose_bundle(None)[0] == "sface"


@pytest.mark.parametrize("part", ["rejects 2.0%", "FMR 1e-4", "`builtin` 61.2%"])
def test_the_reason_names_what_was_measured(tmp_path: Path, part: str) -> None:
    folder = measured(tmp_path, {"sface": 0.02, "builtin": 0.612, "dlib": 0.9})
    assert part in choose_bundle(None, folder)[1]


def test_a_bundle_that_is_named_is_taken() -> None:
    assert choose_bundle("elsewhere") == ("elsewhere", "named in the settings")


def test_a_loaded_bundle_says_why_it_was_chosen(folder: Path) -> None:
    assert load_bundle(str(folder)).chosen_because == "named in the settings"


def test_a_hub_reference_is_kept_in_the_manifest(tmp_path: Path) -> None:
    reference = EncoderReference(kind="clip", source="openai/clip", revision="abc")
    write_bundle(tmp_path, encoder=reference)
    assert read_manifest(tmp_path).encoder == reference


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sfase", "Did you mean `sface`"),
        ("nothing", "`sface`, `builtin`, `dlib`"),
        ("/no/such/folder", "an existing folder"),
        ("{folder}", "contains neither bundle.json"),
        ("{folder}/network.onnx", "likeness bundle new"),
    ],
)
def test_a_name_that_means_no_bundle_is_told_without_asking_a_hub(
    source: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "network.onnx").write_bytes(b"anything")
    with pytest.raises(InvalidBundle, match=said):
        load_bundle(source.format(folder=tmp_path))


def test_another_detector_than_its_own_is_told_with_what_it_costs() -> None:
    bundle = load_bundle("sface", detector="none")
    assert "do not hold with `none`" in bundle.chosen_because
