"""Measure a folder of photos, and its two parts alone: `python -m tests.tools.bench.folders`.

The parts are the decode pool and the encoder, with the same threads and batches as together. With
a GPU the whole cannot be faster than the slower part. On a CPU both parts share the cores, and
the whole cannot be faster than both parts in turn, unless one of them leaves a core idle.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from service.bulk.local import LocalEngine, open_local
from service.pipeline.decode import Caller
from service.settings import load_settings
from tests.photos import Name, jpeg, open_photo
from tests.tools.bench.machine import describe_machine, markdown


def write_photos(folder: Path, count: int) -> list[Path]:
    """Write different photos of 0.3 megapixels."""
    names: tuple[Name, ...] = ("grace", "astronaut")
    files = []
    for at in range(count):
        side = 400 + at % 97
        portrait = ImageOps.contain(open_photo(names[at % 2]), (side, 480))
        photo = ImageOps.pad(portrait, (640, 480), color=(at % 256, at // 256 % 256, 90))
        file = folder / f"{at:06}.jpg"
        file.write_bytes(jpeg(photo))
        files.append(file)
    return files


async def measure(bulk: LocalEngine, files: Sequence[Path], rounds: int) -> list[tuple[float, ...]]:
    """Return photos per second of decode pool, encoder and whole, one row per round."""
    rates: list[tuple[float, ...]] = []
    share = len(files) // rounds
    for start in range(0, share * rounds, share):
        part = files[start : start + share]
        decoding, crops = await decode_alone(bulk, part)
        encoding = await asyncio.to_thread(encode_alone, bulk, crops)
        started = perf_counter()
        results = [result async for result in bulk.probe_files(part, "largest")]
        rates.append((decoding, encoding, len(results) / (perf_counter() - started)))
    return rates


async def decode_alone(
    bulk: LocalEngine, files: Sequence[Path]
) -> tuple[float, list[NDArray[np.uint8]]]:
    started = perf_counter()
    prepared = [bulk.pool.prepare(file.read_bytes(), "largest", Caller()) for file in files]
    crops = [ready.crop for ready in await asyncio.gather(*prepared)]
    return len(files) / (perf_counter() - started), crops


def encode_alone(bulk: LocalEngine, crops: Sequence[NDArray[np.uint8]]) -> float:
    started = perf_counter()
    for at in range(0, len(crops), bulk.batch):
        bulk.embedder(crops[at : at + bulk.batch])
    return len(crops) / (perf_counter() - started)


async def table(bundles: Sequence[str], count: int, rounds: int, threads: int | None) -> str:
    """Return the table of the medians over all rounds, also of the ratios within a round."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = write_photos(Path(folder), count)
        for name in bundles:
            async with open_local(load_settings(bundle=name, decode_threads=threads)) as bulk:
                rates = await measure(bulk, files, rounds)
                shared = bulk.embedder.device.type == "cpu"
                decoders = bulk.threads
            slower = median(whole / min(decode, encode) for decode, encode, whole in rates)
            in_turn = median(whole * (1 / decode + 1 / encode) for decode, encode, whole in rates)
            figures = (f"{median(column):.0f}" for column in zip(*rates, strict=True))
            turns = f"{in_turn:.2f}" if shared else "-"
            rows.append((name, str(decoders), *figures, f"{slower:.2f}", turns))
    head = ("bundle", "decode threads", "decode pool alone", "encoder alone", "whole",
            "whole / slower", "whole / both in turn")  # fmt: skip
    return markdown(f"{count:,} photos of 0.3 MP, photos/s", head, rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="decode threads (default: as embed-folder)")
    parser.add_argument(
        "--bundle", action="append", help="bundle to measure (default: sface and builtin)"
    )
    arguments = parser.parse_args()
    bundles = arguments.bundle or ["sface", "builtin"]
    print(describe_machine())
    print()
    print(asyncio.run(table(bundles, arguments.photos, arguments.rounds, arguments.threads)))


if __name__ == "__main__":
    main()
