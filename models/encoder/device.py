"""Choose the device and the precision to compute with, by what the hardware supports."""

from typing import Literal

import torch

from models.errors import InvalidBundle

Precision = Literal["fp32", "bf16"]


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the device `wanted`; for `auto`, CUDA if there is a GPU, else the CPU.

    Raises InvalidBundle if the device is absent.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as exc:
        raise InvalidBundle(f"`{wanted}` is not a device; use `auto`, `cpu` or `cuda`.") from exc
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InvalidBundle(f"The device `{wanted}` is absent: torch sees {count} CUDA devices.")
    return device


def choose_precision(device: torch.device, wanted: str = "auto") -> Precision:
    """Return the precision `wanted`; for `auto`, bf16 if the device supports it, else fp32."""
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
    # oneDNN is asked too, because it runs the matrix products.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(native and torch.ops.mkldnn._is_mkldnn_bf16_supported())
