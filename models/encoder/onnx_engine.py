"""Run an ONNX network with OpenVINO on a CPU, or with ONNX Runtime on a CPU or a GPU."""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.encoder import EngineName
from models.encoder.device import Precision
from models.encoder.encoder import split_views
from models.encoder.onnx import OnnxEncoder
from models.encoder.openvino import compile_model, open_core
from models.encoder.pixels import PixelSpec, encoder_pixels
from models.errors import InvalidBundle

Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class OnnxEngine:
    """Prepare the pixels as every engine does, and pass them to a runner of the network."""

    def __init__(
        self, name: EngineName, run: Runner, encoder: OnnxEncoder, pixels: PixelSpec
    ) -> None:
        self.name = name
        self._run = run
        self._encoder = encoder
        self._pixels = pixels

    @torch.inference_mode()
    def __call__(self, crops: Tensor) -> Tensor:
        pixels = encoder_pixels(crops.float(), self._pixels)
        if self._encoder.channels_last:
            pixels = pixels.permute(0, 2, 3, 1)
        output = self._run(np.ascontiguousarray(pixels.numpy()))
        features = np.array(output, np.float32).reshape(len(pixels), -1)
        return split_views(torch.from_numpy(features), self._pixels)


def openvino_runner(encoder: OnnxEncoder, device: torch.device, precision: Precision) -> Runner:
    """Compile the network for this CPU; raises InvalidBundle if OpenVINO cannot run it."""
    core = open_core(device)
    try:
        model = core.read_model(encoder.model)
        model.reshape([-1, *encoder.input_shape])
        request = compile_model(core, model, precision)
    except RuntimeError as exc:
        reason = str(exc).strip().splitlines()[-1]
        raise InvalidBundle(f"OpenVINO cannot run this ONNX network: {reason}") from exc

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = request.infer([pixels], share_inputs=True)[0]
        return output

    return run


def onnxruntime_has_cuda() -> bool:
    """Return whether ONNX Runtime is installed and built for GPUs."""
    if find_spec("onnxruntime") is None:
        return False
    import onnxruntime as ort

    return "CUDAExecutionProvider" in ort.get_available_providers()


def onnxruntime_runner(encoder: OnnxEncoder, device: torch.device, precision: Precision) -> Runner:
    """Open an ONNX Runtime session on the device.

    It computes in float32; with the precision `bf16` a GPU multiplies in TF32. Raises
    InvalidBundle if ONNX Runtime is not installed or cannot run the network.
    """
    if find_spec("onnxruntime") is None:
        raise InvalidBundle(
            "The engine `onnxruntime` is not installed: pip install onnxruntime-gpu, or "
            "onnxruntime for CPUs."
        )
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    providers: list[tuple[str, dict[str, object]]] = [("CPUExecutionProvider", {})]
    if device.type == "cuda":
        if not onnxruntime_has_cuda():
            raise InvalidBundle(
                "This ONNX Runtime is built without CUDA: pip install onnxruntime-gpu, or set "
                "LIKENESS_DEVICE=cpu."
            )
        cuda: dict[str, object] = {
            "device_id": device.index or 0,
            "use_tf32": int(precision == "bf16"),
        }
        providers = [("CUDAExecutionProvider", cuda)]
    try:
        session = ort.InferenceSession(encoder.model, options, providers=providers)
    except Exception as exc:  # the errors of ONNX Runtime have no common class
        reason = str(exc).strip().splitlines()[0]
        raise InvalidBundle(f"ONNX Runtime cannot run this ONNX network: {reason}") from exc

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = session.run([encoder.output], {encoder.input: pixels})[0]
        return output

    return run
