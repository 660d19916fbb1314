"""Describe the machine of a measurement, and format tables."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "torch",
    "openvino",
    "onnx",
    "transformers",
    "opencv-python-headless",
    "pillow",
    "fastapi",
)


def describe_machine() -> str:
    """Return lines with the hardware, the versions and the commit, to reproduce a figure."""
    import torch  # takes seconds, and a caller that only prints a table needs none of it

    from models.encoder.device import choose_device, choose_precision

    device = choose_device()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    cpu = f"{_cpu()}, {os.cpu_count()} cores{gpu}"
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return "\n".join(
        (
            f"hardware  {cpu}; precision {choose_precision(device)}",
            f"software  Python {platform.python_version()}, {versions}",
            f"commit    {commit or 'unknown'}",
        )
    )


def markdown(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    columns = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, columns, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in columns) + "|"
    return "\n".join((f"### {title}", "", line(head), rule, *map(line, rows)))


def resident_mb(pid: int, which: str = "VmRSS") -> float:
    """Return the resident memory of a process in MiB, or its maximum with `VmHWM`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{which}:"))
    return int(line.split()[1]) / 1024


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
