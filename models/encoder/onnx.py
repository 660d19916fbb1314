"""A face network from an ONNX file: any that takes an aligned face and gives one vector.

Files differ in what runtimes refuse or run slowly, so a network is repaired when it is read:
weights stored in blocks of int8 are unpacked, weights leave the list of inputs, a batch size that
the file fixes is opened, and numbers too small to be normal become zero.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_shapes

from models.encoder.encoder import check_numbers, digest_of
from models.errors import InvalidBundle

_BATCH = "batch"
_SMALLEST_NORMAL = np.finfo(np.float32).tiny


class OnnxEncoder:
    """Encode with a network read from an ONNX file; features are its output.

    `model` is the repaired file's bytes, `input` and `output` are the names of its tensors,
    `input_shape` is that of one face, `(3, h, w)` or with `channels_last` `(h, w, 3)`.
    """

    def __init__(self, network: ModelProto, source: str) -> None:
        repaired = _repaired(network, source)
        graph = repaired.graph
        self.model: bytes = repaired.SerializeToString()
        self.input: str = graph.input[0].name
        self.output: str = graph.output[0].name
        self.input_shape = _face_shape(graph.input[0], source)
        self.channels_last = self.input_shape[0] != 3
        self.image_size: int = self.input_shape[1]
        self.width = _width(graph.output[0], source)
        steps = "".join(_described(node) for node in graph.node)
        self.architecture = f"onnx, {hashlib.sha256(steps.encode()).hexdigest()}"
        weights = list(_tensors(graph))
        check_numbers(weights, source)
        self._digest = digest_of(weights)

    @classmethod
    def load(cls, path: Path) -> "OnnxEncoder":
        """Read and repair a file; raises InvalidBundle if it holds no such network.

        Files that keep their weights in other files beside them are refused.
        """
        try:
            model = onnx.load_model(path, load_external_data=False)
        except (OSError, DecodeError) as exc:
            raise InvalidBundle(f"{path} is no ONNX file, or a damaged one.") from exc
        if not model.graph.node:
            raise InvalidBundle(f"{path} holds no network.")
        if any(tensor.external_data for tensor in model.graph.initializer):
            raise InvalidBundle(
                f"{path} keeps its weights in other files; save the network as one file "
                "(onnx.save_model does unless it is told otherwise)."
            )
        return cls(model, path.name)

    def digest(self) -> bytes:
        """Return the SHA-256 of its weights."""
        return self._digest


def _repaired(model: ModelProto, source: str) -> ModelProto:
    """Return the network as every runtime takes it; the one given is used up."""
    graph = model.graph
    try:
        _fold_constants(model)
    except Exception as exc:  # what an operator raises over a damaged file is its own affair
        raise InvalidBundle(f"{source} holds weights that cannot be unpacked: {exc}") from exc
    weights = {tensor.name for tensor in graph.initializer}
    used = {name for node in graph.node for name in node.input}
    images = [value for value in graph.input if value.name not in weights and value.name in used]
    if len(images) != 1 or len(graph.output) != 1:
        raise InvalidBundle(
            f"{source} has {len(images)} inputs and {len(graph.output)} outputs; a face network "
            "has one of each."
        )
    del graph.input[:]
    graph.input.extend(images)
    _open_batch(graph)
    _drop_subnormal(graph)
    try:
        inferred = infer_shapes(model, strict_mode=True)
    except InferenceError as exc:
        raise InvalidBundle(f"{source} is not a consistent ONNX network: {exc}") from exc
    del inferred.graph.value_info[:]
    return inferred


def _fold_constants(model: ModelProto) -> None:
    """Compute once every node that depends on weights alone, by ONNX's own reference code."""
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kept: list[NodeProto] = []
    for node in graph.node:
        if not all(name in constants for name in node.input if name):
            kept.append(node)
            continue
        inputs = [name for name in node.input if name]
        alone = helper.make_graph(
            [node],
            "constant",
            [helper.make_empty_tensor_value_info(name) for name in inputs],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
        )
        program = helper.make_model(alone, opset_imports=model.opset_import)
        values = ReferenceEvaluator(program).run(None, {name: constants[name] for name in inputs})
        constants |= dict(zip(node.output, values, strict=True))
    used = {name for node in kept for name in node.input}
    del graph.node[:]
    graph.node.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in constants.items()
        if name in used
    )


def _open_batch(graph: GraphProto) -> None:
    """Let the first dimension be any number, where the file fixes it at one."""
    del graph.value_info[:]
    fixed = graph.input[0].type.tensor_type.shape.dim[0].dim_value > 0
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    if not fixed:
        return
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name not in shapes:
            continue
        target = numpy_helper.to_array(tensor).copy()
        if target.size > 1 and target[0] == 1:
            # To a reshape, zero says: as many as there were.
            target[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(target, tensor.name))


def _drop_subnormal(graph: GraphProto) -> None:
    """Set weights to zero that are smaller than any normal number.

    They change nothing, but processors take a hundred times as long to multiply them.
    """
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and (small := np.abs(values) < _SMALLEST_NORMAL).any():
            tensor.CopyFrom(numpy_helper.from_array(np.where(small, 0, values), tensor.name))


def _face_shape(value: ValueInfoProto, source: str) -> tuple[int, int, int]:
    shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    if len(shape) == 4:
        _, a, b, c = shape
        if (a == 3 and b == c > 0) or (c == 3 and a == b > 0):
            return a, b, c
    raise InvalidBundle(
        f"{source} takes {list(shape)}; a face network takes square images of three channels, "
        "such as [1, 3, 112, 112]."
    )


def _width(value: ValueInfoProto, source: str) -> int:
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
    width = int(np.prod(sizes)) if sizes else 0
    if width < 2:
        raise InvalidBundle(f"{source} gives {sizes} for a face; a face network gives one vector.")
    return width


def _tensors(graph: GraphProto) -> Iterator[NDArray[np.generic]]:
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        yield values.astype(np.float32) if values.dtype.kind == "f" else values


def _described(node: NodeProto) -> str:
    attributes = sorted(f"{a.name}={helper.get_attribute_value(a)}" for a in node.attribute)
    return f"{node.op_type}({', '.join(attributes)});"
