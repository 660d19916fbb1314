"""Which device and precision to compute on, by what the hardware does natively."""

from typing import Literal

import torch

from models.errors import InvalidBundle

Precision = Literal["fp32", "bf16"]


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the device asked for, or CUDA when there is one; raises InvalidBundle if absent."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as exc:
        raise InvalidBundle(f"`{wanted}` is no device; `auto`, `cpu` and `cuda` are.") from exc
    seen = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= seen:
        raise InvalidBundle(f"Device `{wanted}` was asked for, but torch sees {seen} CUDA devices.")
    return device


def choose_precision(device: torch.device, wanted: str = "auto") -> Precision:
    """Return bf16 where the device multiplies it natively, else fp32, unless one is asked for."""
    match wanted:
        case "fp32":
            return "fp32"
        case "bf16":
            return "bf16"
        case _:
            return "bf16" if _multiplies_bf16(device) else "fp32"


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # oneDNN's own answer: it is what will run the matrix products.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(native and torch.ops.mkldnn._is_mkldnn_bf16_supported())
