from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from models.bundle import load_bundle
from models.embedder import Embedder, Row
from models.encoder import EngineName
from models.encoder.engine import open_engine
from models.encoder.onnx import OnnxEncoder
from models.encoder.pixels import PixelSpec, stack
from models.errors import InvalidBundle
from tests.networks import SIZE, WIDTH, faces, network, write_network

CPU = torch.device("cpu")
SPEC = PixelSpec(SIZE, margin=0.0, mean=(0.5,) * 3, std=(0.5,) * 3, template="arcface")
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")


def reference(model: ModelProto, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a network as it is in its file, one face at a time, by ONNX's reference code."""
    run = ReferenceEvaluator(model)
    return np.concatenate([run.run(None, {"image": face[None]})[0] for face in pixels])


def features(encoder: OnnxEncoder, spec: PixelSpec, count: int, name: EngineName) -> torch.Tensor:
    return open_engine(name, encoder, spec, CPU, "fp32")(stack(faces(count)))


def normalised(count: int) -> NDArray[np.float32]:
    pixels = np.stack(faces(count)).astype(np.float32).transpose(0, 3, 1, 2)
    return (pixels - 127.5) / 127.5


# Differences between files


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("words", [{}, {"blocks": True}, {"listed": True}, {"batch": "n"}], ids=str)
def test_a_batch_gives_what_the_file_gives_one_by_one(
    engine: EngineName, words: dict[str, bool], tmp_path: Path
) -> None:
    encoder = OnnxEncoder.load(write_network(tmp_path / "net.onnx", **words))
    given = features(encoder, SPEC, 5, engine)[:, 0].numpy()
    wanted = reference(network(**words), normalised(5))
    np.testing.assert_allclose(given, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_with_channels_last_is_fed_so(engine: EngineName, tmp_path: Path) -> None:
    path = write_network(tmp_path / "net.onnx", channels_last=True)
    given = features(OnnxEncoder.load(path), SPEC, 3, engine)[:, 0].numpy()
    np.testing.assert_allclose(given, reference(network(), normalised(3)), rtol=1e-3, atol=1e-3)


def test_blue_comes_first_where_the_bundle_says_so(tmp_path: Path) -> None:
    encoder = OnnxEncoder.load(write_network(tmp_path / "net.onnx"))
    given = features(encoder, replace(SPEC, channels="bgr"), 2, "openvino")[:, 0].numpy()
    wanted = reference(network(), normalised(2)[:, ::-1])
    np.testing.assert_allclose(given, wanted, rtol=1e-3, atol=1e-3)


def test_with_mirror_there_is_a_second_look(tmp_path: Path) -> None:
    encoder = OnnxEncoder.load(write_network(tmp_path / "net.onnx"))
    given = features(encoder, replace(SPEC, mirror=True), 2, "openvino").numpy()
    mirrored = reference(network(), normalised(2)[:, :, :, ::-1])
    assert given.shape == (2, 2, WIDTH)
    np.testing.assert_allclose(given[:, 1], mirrored, rtol=1e-3, atol=1e-3)


def test_the_file_tells_size_and_width(tmp_path: Path) -> None:
    encoder = OnnxEncoder.load(write_network(tmp_path / "net.onnx"))
    assert (encoder.image_size, encoder.width, encoder.input) == (SIZE, WIDTH, "image")


def test_no_weight_is_left_that_is_slow_to_multiply(tmp_path: Path) -> None:
    encoder = OnnxEncoder.load(write_network(tmp_path / "net.onnx"))
    tensors = onnx.load_model_from_string(encoder.model).graph.initializer
    values = np.abs(np.concatenate([numpy_helper.to_array(t).ravel() for t in tensors]))
    assert not ((values > 0) & (values < np.finfo(np.float32).tiny)).any()


# Identity


def test_the_digest_is_that_of_the_numbers_not_of_the_file(tmp_path: Path) -> None:
    one = OnnxEncoder.load(write_network(tmp_path / "a.onnx"))
    again = network(listed=True, batch="n")
    again.producer_name = "another"
    onnx.save_model(again, tmp_path / "b.onnx")
    other = OnnxEncoder.load(write_network(tmp_path / "c.onnx", seed=1))
    assert one.digest() != other.digest()
    assert one.architecture == other.architecture
    # The shape of the reshape is a number of the network too: only that differs.
    assert OnnxEncoder.load(tmp_path / "b.onnx").architecture == one.architecture


# What is refused


def two_outputs(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("flat", 1, None))


def no_square(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 48


def broken_graph(model: ModelProto) -> None:
    model.graph.node[-1].input[0] = "nowhere"


def external(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


@pytest.mark.parametrize("spoil", [two_outputs, no_square, broken_graph, external])
def test_a_file_that_is_no_face_network_is_refused_in_a_sentence(
    spoil: Callable[[ModelProto], None], tmp_path: Path
) -> None:
    model = network()
    spoil(model)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidBundle, match=r"net\.onnx"):
        OnnxEncoder.load(tmp_path / "net.onnx")


@pytest.mark.parametrize("data", [b"", b"not an ONNX file", b"\x08"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_onnx_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(InvalidBundle):
        OnnxEncoder.load(tmp_path / "net.onnx")


def test_torch_is_refused_with_what_to_set(tmp_path: Path) -> None:
    encoder = OnnxEncoder.load(write_network(tmp_path / "net.onnx"))
    with pytest.raises(InvalidBundle, match="LIKENESS_ENGINE"):
        open_engine("torch", encoder, SPEC, CPU, "fp32")


# SFace itself


def test_sface_agrees_with_onnx_runtime_on_real_faces(
    sface_embedder: Embedder, sface_chips: list[NDArray[np.uint8]]
) -> None:
    other = Embedder(load_bundle("sface"), CPU, "fp32", "onnxruntime")
    for one, two in zip(sface_embedder(sface_chips), other(sface_chips), strict=True):
        assert isinstance(one, Row)
        assert isinstance(two, Row)
        assert float(one.vector @ two.vector) >= 0.9999


@pytest.mark.gpu
def test_sface_on_a_gpu_gives_the_vectors_of_the_cpu(
    sface_embedder: Embedder, sface_chips: list[NDArray[np.uint8]]
) -> None:
    gpu = Embedder(load_bundle("sface"), torch.device("cuda"), "fp32")
    for one, two in zip(sface_embedder(sface_chips), gpu(sface_chips), strict=True):
        assert isinstance(one, Row)
        assert isinstance(two, Row)
        assert float(one.vector @ two.vector) >= 0.9999
