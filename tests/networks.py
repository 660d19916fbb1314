"""Small random face networks as ONNX files, with what runtimes stumble over."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

SIZE, WIDTH = 32, 24


def network(
    *,
    batch: int | str = 1,
    channels_last: bool = False,
    blocks: bool = False,
    listed: bool = False,
    blind: bool = False,
    seed: int = 0,
) -> ModelProto:
    """Build one that takes `(batch, 3, 32, 32)` and gives `(batch, 24)`.

    With `blocks` its last weights are int8 in blocks, with `listed` all weights are listed
    among the inputs. The batch size is fixed in a reshape too. A `blind` one answers nearly the
    same to whatever it sees.
    """
    random = np.random.default_rng(seed)
    kernel = random.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    # Too small to be a normal number: slow to multiply, and worth nothing.
    kernel[0, 0, 0, 0] = 1e-40
    slope = np.full((4, 1, 1), 0.25, np.float32)
    dense = random.normal(0, 0.05, (WIDTH, 4 * 16 * 16)).astype(np.float32)
    bias = np.full(WIDTH, 1.0 if blind else 0.0, np.float32)
    dense *= np.float32(1e-3 if blind else 1)
    shape = np.array([batch if isinstance(batch, int) else -1, 4 * 16 * 16], np.int64)
    weights: dict[str, NDArray[np.generic]] = {
        "kernel": kernel,
        "slope": slope,
        "bias": bias,
        "shape": shape,
    }
    nodes = []
    if blocks:
        scales = np.abs(dense).reshape(WIDTH, -1, 64).max(2).astype(np.float32) / 127
        packed = np.round(dense / np.repeat(scales, 64, 1)).astype(np.int8)
        weights |= {"packed": packed, "scales": scales}
        nodes.append(
            helper.make_node(
                "DequantizeLinear", ["packed", "scales"], ["dense"], axis=1, block_size=64
            )
        )
    else:
        weights["dense"] = dense
    first = "image"
    if channels_last:
        nodes.append(helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
        first = "planes"
    nodes += [
        helper.make_node("Conv", [first, "kernel"], ["maps"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("PRelu", ["maps", "slope"], ["bent"]),
        helper.make_node("Reshape", ["bent", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense", "bias"], ["vector"], transB=1),
    ]
    image = [batch, SIZE, SIZE, 3] if channels_last else [batch, 3, SIZE, SIZE]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)]
    if listed:
        inputs += [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape)
            )
            for name, value in weights.items()
        ]
    graph = helper.make_graph(
        nodes,
        "face",
        inputs,
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [batch, WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def write_network(path: Path, **words: bool | int | str) -> Path:
    """Write such a network to a file."""
    onnx.save_model(network(**words), path)  # type: ignore[arg-type]
    return path


def faces(count: int, size: int = SIZE, seed: int = 1) -> list[NDArray[np.uint8]]:
    """Return noise in the shape of crops."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (size, size, 3), np.uint8) for _ in range(count)]
