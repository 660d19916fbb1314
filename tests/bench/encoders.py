"""The built-in encoders side by side, and dlib's own way of running its network."""

import itertools
from functools import partial

import dlib
import numpy as np

from models.bundle import BUILTIN_FOLDER, BUILTIN_NAMES, load_bundle
from models.detectors import model_file
from models.device import choose_device, choose_precision
from models.dlib_resnet import DLIB_WEIGHTS
from models.embedder import Embedder
from tests.bench.machine import markdown
from tests.bench.stages import timed

BATCHES = (1, 2, 4, 8, 32)


def table() -> str:
    """Return crops per second by batch size, rounds interleaved by encoder."""
    device = choose_device()
    precision = choose_precision(device)
    rows = []
    crop = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    native = dlib.face_recognition_model_v1(str(model_file(DLIB_WEIGHTS)))
    alone = 1000 / timed(lambda: native.compute_face_descriptor(crop))
    # Ours sees every crop twice, upright and mirrored.
    rows.append(("dlib's own, one view", *[f"{alone:.0f}"] * len(BATCHES)))
    served = [name for name in BUILTIN_NAMES if (BUILTIN_FOLDER / name / "bundle.json").exists()]
    for name, wanted in itertools.product(served, dict.fromkeys(("fp32", precision))):
        embedder = Embedder(load_bundle(name), device, choose_precision(device, wanted))
        size = embedder.bundle.manifest.pixels.size
        crops = np.random.default_rng(0).integers(0, 256, (max(BATCHES), size, size, 3), np.uint8)
        rates = []
        for batch in BATCHES:
            part = list(crops[:batch])
            embedder(part)
            rates.append(1000 * batch / timed(partial(embedder, part)))
        rows.append((f"{name}, {wanted}, both views", *(f"{rate:.0f}" for rate in rates)))
    head = ("encoder", *(f"batch {batch}" for batch in BATCHES))
    return markdown("Encoders, crops/s", head, rows)
