import shutil
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.bundle import Bundle, load_bundle
from models.decision import Outcome, rule_at, similarity
from models.embedder import Embedder, Row
from models.encoder import EngineName
from models.encoder.clip import ClipEncoder
from models.encoder.device import Precision
from models.encoder.pixels import PixelSpec
from models.errors import DegenerateVector, DeviceLost, InvalidBundle, OutOfMemory
from models.photo.detectors import DetectorSource
from service.pipeline.loading import load_embedder
from service.settings import Settings
from tests.checkpoints import SIZE, WIDTH, tiny_manifest

Pixels = NDArray[np.uint8]

CPU = torch.device("cpu")


def vectors(embedder: Embedder, crops: list[Pixels]) -> NDArray[np.float32]:
    rows = embedder(crops)
    return np.stack([row.vector for row in rows if isinstance(row, Row)])


def noise(count: int, size: int = SIZE) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def precision(request: pytest.FixtureRequest) -> Precision:
    chosen: Precision = request.param
    return chosen


@pytest.fixture(
    scope="module",
    params=[
        ("sface", "openvino"),
        ("sface", "onnxruntime"),
        ("tiny", "torch"),
        ("tiny", "openvino"),
        pytest.param(("dlib", "torch"), marks=pytest.mark.dlib),
        pytest.param(("dlib", "openvino"), marks=pytest.mark.dlib),
    ],
    ids="-".join,
)
def embedder(
    request: pytest.FixtureRequest, precision: Precision, tiny_bundle_folder: Path
) -> Embedder:
    """Serve built-in bundles and a tiny CLIP bundle, by all their engines, at both precisions."""
    served: tuple[str, EngineName] = request.param
    source, engine = served
    folder = str(tiny_bundle_folder) if source == "tiny" else source
    return Embedder(load_bundle(folder), CPU, precision, engine)


@pytest.fixture
def crops(embedder: Embedder, sface_chips: list[Pixels], dlib_chips: list[Pixels]) -> list[Pixels]:
    match embedder.bundle.manifest.pixels.size:
        case 112:
            return sface_chips
        case 150:
            return dlib_chips
    return [np.ascontiguousarray(chip[9:137:4, 9:137:4]) for chip in dlib_chips]


# Batches


def test_a_crop_in_a_batch_gives_what_it_gives_alone(
    embedder: Embedder, crops: list[Pixels]
) -> None:
    alone = np.concatenate([vectors(embedder, [crop]) for crop in crops])
    cosines = (alone * vectors(embedder, crops)).sum(axis=1)
    assert cosines.min() >= 1 - (1e-5 if embedder.precision == "fp32" else 1e-3)


def test_rows_come_in_the_order_of_the_crops(embedder: Embedder, crops: list[Pixels]) -> None:
    forwards, backwards = vectors(embedder, crops), vectors(embedder, crops[::-1])
    assert np.abs(forwards - backwards[::-1]).max() < 0.02
    assert np.abs(forwards - backwards).max() > 0.02


def test_a_crop_and_its_mirror_image_give_the_same_vector(
    embedder: Embedder, crops: list[Pixels]
) -> None:
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops[::4]]
    cosines = (vectors(embedder, crops[::4]) * vectors(embedder, mirrored)).sum(axis=1)
    assert cosines.min() >= 1 - (1e-5 if embedder.precision == "fp32" else 1e-3)


def test_vectors_have_unit_length(embedder: Embedder, crops: list[Pixels]) -> None:
    lengths = np.linalg.norm(vectors(embedder, crops[:2]), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_vectors_and_features_are_float32_whatever_is_computed_in(
    embedder: Embedder, crops: list[Pixels]
) -> None:
    row = embedder(crops[:1])[0]
    assert isinstance(row, Row)
    assert {row.vector.dtype, row.features.dtype} == {np.dtype(np.float32)}


def test_features_are_as_wide_as_the_encoder(embedder: Embedder, crops: list[Pixels]) -> None:
    row = embedder(crops[:1])[0]
    assert isinstance(row, Row)
    assert row.features.shape == (embedder.bundle.encoder.width,)


# Decisions on real photos


def outcomes(embedder: Embedder, found: NDArray[np.float32]) -> list[Outcome]:
    rule = rule_at(embedder.bundle.operating_points)
    templates = [embedder.bundle.template(vector) for vector in found]
    return [rule.decide(similarity(a, b)).outcome for a, b in combinations(templates, 2)]


@pytest.fixture(scope="module")
def reduced_embedder() -> Embedder:
    return Embedder(load_bundle("sface"), CPU, "bf16")


def test_no_decision_depends_on_the_batch_or_the_precision(
    sface_embedder: Embedder, reduced_embedder: Embedder, sface_chips: list[Pixels]
) -> None:
    together = outcomes(sface_embedder, vectors(sface_embedder, sface_chips))
    alone = np.concatenate([vectors(sface_embedder, [chip]) for chip in sface_chips])
    assert outcomes(sface_embedder, alone) == together
    assert outcomes(reduced_embedder, vectors(reduced_embedder, sface_chips)) == together


def test_photos_of_one_person_match_and_of_two_do_not(
    sface_embedder: Embedder, sface_chips: list[Pixels]
) -> None:
    found = outcomes(sface_embedder, vectors(sface_embedder, sface_chips))
    same = [a // 4 == b // 4 for a, b in combinations(range(8), 2)]
    assert found == ["match" if one else "no_match" for one in same]


# Bundles without some parts


def test_without_a_head_the_vector_is_the_feature_at_unit_length(sface_embedder: Embedder) -> None:
    row = sface_embedder(noise(1, 112))[0]
    assert isinstance(row, Row)
    np.testing.assert_allclose(row.vector, row.features / np.linalg.norm(row.features), rtol=1e-5)


def test_the_head_makes_the_vector(tiny_bundle_folder: Path) -> None:
    bundle = load_bundle(str(tiny_bundle_folder))
    one_look = replace(
        bundle, manifest=tiny_manifest(pixels=PixelSpec(SIZE, margin=0.3, mirror=False))
    )
    row = Embedder(one_look, CPU, "fp32")(noise(1))[0]
    assert isinstance(row, Row)
    assert bundle.head is not None
    with torch.inference_mode():
        wanted = bundle.head(torch.from_numpy(row.features)[None])[0].numpy()
    np.testing.assert_allclose(row.vector, wanted / np.linalg.norm(wanted), atol=1e-6)


# Trouble: encoders that break in the ways devices do


@dataclass(frozen=True)
class BrokenEncoder:
    """Return `answer`, or raise it."""

    answer: Tensor | Exception
    width: int = WIDTH
    image_size: int = SIZE
    architecture: str = "broken"
    network: nn.Module = field(default_factory=nn.Identity)

    def digest(self) -> bytes:
        return b"broken"

    def __call__(self, pixels: Tensor) -> Tensor:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer.repeat(2, 1)  # the crops and their mirror images


class GreedyEncoder(BrokenEncoder):
    """Ask for more memory than any machine has."""

    def __call__(self, pixels: Tensor) -> Tensor:
        return torch.empty(len(pixels), 2**50)


def serve(encoder: BrokenEncoder) -> Embedder:
    manifest = tiny_manifest(head=None)
    return Embedder(
        Bundle(manifest, encoder, None, DetectorSource("none"), "0" * 64, "a test"), CPU, "fp32"
    )


def test_a_crop_without_a_usable_vector_fails_alone() -> None:
    answer = torch.ones(4, WIDTH)
    answer[1], answer[2, 5], answer[3, 0] = 0, torch.nan, torch.inf
    rows = serve(BrokenEncoder(answer))(noise(4))
    assert [type(row) for row in rows] == [Row, *[DegenerateVector] * 3]


def test_weights_that_are_no_numbers_fail_every_row_and_raise_nothing(
    tiny_bundle_folder: Path,
) -> None:
    bundle = load_bundle(str(tiny_bundle_folder))
    assert isinstance(bundle.encoder, ClipEncoder)
    with torch.no_grad():
        next(bundle.encoder.network.parameters()).fill_(torch.nan)
    rows = Embedder(bundle, CPU, "fp32")(noise(2))
    assert [type(row) for row in rows] == [DegenerateVector, DegenerateVector]


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (torch.zeros(2, WIDTH), "gives no vector"),
        (torch.full((2, WIDTH), torch.nan), "gives no vector"),
        (torch.ones(2, WIDTH), "the same vector for different pictures"),
    ],
)
def test_a_network_that_sees_nothing_does_not_start(features: Tensor, sentence: str) -> None:
    with pytest.raises(InvalidBundle, match=sentence):
        serve(BrokenEncoder(features)).check()


def test_a_network_that_works_starts(embedder: Embedder) -> None:
    embedder.check()


def test_a_service_does_not_start_with_a_head_of_zeros(
    tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")
    zeros = {name: value * 0 for name, value in load_file(folder / "head.safetensors").items()}
    save_file(zeros, folder / "head.safetensors")
    with pytest.raises(InvalidBundle, match="its weights are damaged"):
        load_embedder(Settings(bundle=str(folder), device="cpu"))


def test_a_batch_too_large_for_the_memory_is_told_apart() -> None:
    with pytest.raises(OutOfMemory, match="batch of 3"):
        serve(GreedyEncoder(torch.empty(0)))(noise(3))


def test_a_batch_too_large_for_the_device_is_told_apart() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(OutOfMemory, match="batch of 3"):
        serve(BrokenEncoder(error))(noise(3))


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
    ],
)
def test_a_lost_device_is_told_apart(error: Exception) -> None:
    with pytest.raises(DeviceLost):
        serve(BrokenEncoder(error))(noise(1))


def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        serve(BrokenEncoder(RuntimeError("mat1 and mat2 shapes cannot be multiplied")))(noise(1))


@pytest.mark.gpu
@pytest.mark.parametrize(
    "source", ["sface", "builtin", pytest.param("dlib", marks=pytest.mark.dlib)]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_gives_the_vectors_of_the_cpu(source: str, precision: Precision) -> None:
    on_cpu = Embedder(load_bundle(source), CPU, "fp32")
    on_gpu = Embedder(load_bundle(source), torch.device("cuda"), precision)
    crops = noise(4, on_cpu.bundle.manifest.pixels.size)
    cosines = (vectors(on_cpu, crops) * vectors(on_gpu, crops)).sum(axis=1)
    assert cosines.min() >= 1 - (1e-4 if precision == "fp32" else 5e-3)
