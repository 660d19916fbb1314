from pathlib import Path

import pytest
import torch

from models.encoder.device import choose_device, choose_precision
from models.errors import InvalidBundle

CPU = torch.device("cpu")
CPU_FLAGS = Path("/proc/cpuinfo")


def test_the_device_asked_for_is_taken() -> None:
    assert choose_device("cpu") == CPU


def test_a_gpu_is_taken_if_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_device_that_is_absent_is_refused_with_the_number_there_are() -> None:
    with pytest.raises(InvalidBundle, match=f"torch sees {torch.cuda.device_count()} CUDA"):
        choose_device("cuda:99")


def test_a_device_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidBundle, match="`abacus` is not a device"):
        choose_device("abacus")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_asked_for_is_taken(precision: str) -> None:
    assert choose_precision(CPU, precision) == precision


@pytest.mark.skipif(not CPU_FLAGS.exists(), reason="only Linux tells a CPU's features so")
def test_the_precision_of_a_cpu_is_what_it_multiplies_natively() -> None:
    flags = CPU_FLAGS.read_text()
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    assert choose_precision(CPU) == ("bf16" if native else "fp32")
