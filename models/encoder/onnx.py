"""Read a face network from an ONNX file: any network from an aligned face to one vector.

Some files contain what runtimes refuse or run slowly, so a network is repaired when it is read:
weights stored as blocks of int8 are unpacked, weights are removed from the list of inputs, a
fixed batch size becomes variable, and subnormal numbers become zero.
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
    """Hold a network from an ONNX file; its output is the features.

    `model` is the repaired file, `input` and `output` are the names of its tensors. `input_shape`
    is the shape of one face: `(3, h, w)`, or `(h, w, 3)` with `channels_last`.
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
        """Read and repair a file; raises InvalidBundle if it contains no face network.

        Files that store their weights in other files are refused.
        """
        try:
            model = onnx.load_model(path, load_external_data=False)
        except (OSError, DecodeError) as exc:
            raise InvalidBundle(f"{path} is not an ONNX file, or it is damaged.") from exc
        if not model.graph.node:
            raise InvalidBundle(f"{path} contains no network.")
        if any(tensor.external_data for tensor in model.graph.initializer):
            raise InvalidBundle(
                f"{path} stores its weights in other files; save the network as one file "
                "(onnx.save_model does so by default)."
            )
        return cls(model, path.name)

    def digest(self) -> bytes:
        """Return the SHA-256 of its weights."""
        return self._digest


def _repaired(model: ModelProto, source: str) -> ModelProto:
    """Repair the network so that every runtime can read it; changes `model` in place."""
    graph = model.graph
    try:
        _fold_constants(model)
    except Exception as exc:  # an operator may raise anything if the file is damaged
        raise InvalidBundle(f"{source} contains weights that cannot be unpacked: {exc}") from exc
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
    """Replace every node that depends on weights only by its value.

    The values come from the reference implementation of ONNX.
    """
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
    """Make the first dimension variable if the file fixes it at one."""
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
            # In a reshape, zero means that the dimension does not change.
            target[0] = 0
            tensor.CopyFrom(numpy_helper.from_array(target, tensor.name))


def _drop_subnormal(graph: GraphProto) -> None:
    """Set subnormal weights to zero.

    They do not change the result, but a processor needs a hundred times as long for them.
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
        f"{source} has inputs of shape {list(shape)}; a face network has square images of three "
        "channels, such as [1, 3, 112, 112]."
    )


def _width(value: ValueInfoProto, source: str) -> int:
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
    width = int(np.prod(sizes)) if sizes else 0
    if width < 2:
        raise InvalidBundle(
            f"{source} has outputs of shape {sizes}; a face network gives one vector for a face."
        )
    return width


def _tensors(graph: GraphProto) -> Iterator[NDArray[np.generic]]:
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        yield values.astype(np.float32) if values.dtype.kind == "f" else values


def _described(node: NodeProto) -> str:
    attributes = sorted(f"{a.name}={helper.get_attribute_value(a)}" for a in node.attribute)
    return f"{node.op_type}({', '.join(attributes)});"
