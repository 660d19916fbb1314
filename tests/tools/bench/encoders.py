"""Compare the built-in encoders by engine, and dlib's own engine if dlib is installed."""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from models.bundle import installed_bundles, load_bundle
from models.embedder import Embedder
from models.encoder.device import choose_device, choose_precision
from models.encoder.dlib import DLIB_WEIGHTS
from models.weights import dlib_file, has_dlib
from tests.tools.bench.machine import markdown
from tests.tools.bench.stages import ROUNDS, engines_of, timed

BATCHES = (1, 2, 4, 8, 32)


def table() -> str:
    """Return the table of crops per second by encoder and batch size."""
    rows = list(_dlibs_own())
    # Our encoders embed every crop twice, as it is and mirrored.
    for label, embedder in _embedders():
        rows.append((label, *(f"{rate:.0f}" for rate in rates(embedder, BATCHES))))
    head = ("encoder", *(f"batch {batch}" for batch in BATCHES))
    return markdown("Encoders, crops/s", head, rows)


def _dlibs_own() -> Iterator[tuple[str, ...]]:
    if not has_dlib():
        return
    import dlib

    crop = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    native = dlib.face_recognition_model_v1(str(dlib_file(DLIB_WEIGHTS)))
    alone = 1000 / timed(lambda: native.compute_face_descriptor(crop))
    yield "dlib's own, one view", *[f"{alone:.0f}"] * len(BATCHES)


def rates(embedder: Embedder, batches: Sequence[int], rounds: int = ROUNDS) -> list[float]:
    """Return the crops per second of an embedder on ready crops, for each batch size."""
    size = embedder.bundle.manifest.pixels.size
    crops = np.random.default_rng(0).integers(0, 256, (max(batches), size, size, 3), np.uint8)
    speeds = []
    for batch in batches:
        part = list(crops[:batch])
        embedder(part)
        speeds.append(1000 * batch / timed(partial(embedder, part), rounds))
    return speeds


def _embedders() -> Iterator[tuple[str, Embedder]]:
    device = choose_device()
    precisions = dict.fromkeys(("fp32", choose_precision(device)))
    for name, wanted in itertools.product(installed_bundles(), precisions):
        precision = choose_precision(device, wanted)
        for engine in engines_of(load_bundle(name)):
            embedder = Embedder(load_bundle(name), device, precision, engine)
            yield f"{name}, {engine} {wanted}, both views", embedder
