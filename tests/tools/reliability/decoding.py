"""Decode mutated images in worker processes, and keep the inputs that cause a failure."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.tools.reliability.decode_worker import INPUT_S, MEMORY_BYTES
from tests.tools.reliability.row import Row

_SHARD = 5_000


@dataclass(frozen=True, slots=True)
class Shard:
    """Hold the results of the inputs of one seed; `failure` is empty if there was none."""

    inputs: int
    decoded: int
    longest_s: float
    peak_mb: float
    failure: str


def decode_row(inputs: int, first_seed: int, folder: Path, input_s: float = INPUT_S) -> Row:
    """Decode `count` inputs; the same seed gives the same inputs.

    Inputs that cause a failure are left in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [min(_SHARD, inputs - done) for done in range(0, inputs, _SHARD)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seeds = range(first_seed, first_seed + len(sizes))
        tries = pool.map(lambda seed, size: _shard(seed, size, folder, input_s), seeds, sizes)
        shards = list(tries)
    failures = [shard.failure for shard in shards if shard.failure]
    for failure in failures:
        print(failure, file=sys.stderr)
    tried = sum(shard.inputs for shard in shards)
    return Row(
        "mutated images through decoding, a tenth of them up to the crop",
        f"{tried:,} inputs",
        f"{len(failures)} crashes or unexpected errors; "
        f"{sum(shard.decoded for shard in shards):,} decoded; the longest took "
        f"{max(shard.longest_s for shard in shards):.1f} s, "
        f"peak {max(shard.peak_mb for shard in shards):.0f} MB",
        f"0; each under {input_s:g} s of one core, the process under {MEMORY_BYTES >> 20} MiB",
        not failures and tried >= inputs,
    )


def _shard(seed: int, size: int, folder: Path, input_s: float) -> Shard:
    latest = folder / f"image-{seed}.bin"
    told = (str(seed), str(size), str(latest), str(input_s))
    ended = subprocess.run(
        [sys.executable, "-m", "tests.tools.reliability.decode_worker", *told],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode == 0:
        latest.unlink()
        found = json.loads(ended.stdout)
        outcomes: dict[str, int] = found["outcomes"]
        decoded = outcomes.get("decoded", 0)
        tried = sum(outcomes.values())
        return Shard(tried, decoded, found["longest_s"], found["peak_mb"], "")
    why = f"signal {-ended.returncode}" if ended.returncode < 0 else ended.stderr[-2000:]
    return Shard(0, 0, 0.0, 0.0, f"seed {seed}: {latest} was answered with {why}")
