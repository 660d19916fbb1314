"""Measure each stage of one photo alone."""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import cv2
import numpy as np

from models.bundle import Bundle, choose_bundle, load_bundle
from models.embedder import Embedder
from models.encoder import EngineName
from models.encoder.device import choose_device, choose_precision
from models.encoder.onnx import OnnxEncoder
from models.photo.face import DETECTION_SIDE, align, find_face
from models.photo.image import decode
from models.photo.quality import measure
from tests.tools.bench.bodies import photos
from tests.tools.bench.machine import markdown

ROUNDS = 9
SIZES = ((640, 480), (1632, 1224), (4000, 3000))


def timed(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median duration of a call, in milliseconds."""
    seconds = []
    for _ in range(rounds):
        started = perf_counter()
        work()
        seconds.append(perf_counter() - started)
    return 1000 * median(seconds)


def engines_of(bundle: Bundle) -> tuple[EngineName, ...]:
    """Return the engines that run a bundle's encoder here; the service uses the first one."""
    on_cpu = choose_device().type == "cpu"
    if isinstance(bundle.encoder, OnnxEncoder):
        return ("openvino", "onnxruntime") if on_cpu else ("onnxruntime",)
    return ("torch", "openvino") if on_cpu else ("torch",)


def before_encoder(data: bytes) -> tuple[float, float, float, float]:
    """Return the milliseconds to decode, detect, align and measure quality, on one core."""
    cv2.setNumThreads(1)
    bundle = load_bundle(choose_bundle(None)[0])
    detector, framing = bundle.detector.open(), bundle.manifest.pixels.framing
    image = decode(data, shortest=DETECTION_SIDE)
    face = find_face(image.pixels, detector, reduction=image.reduction)
    crop = align(face, detector, framing)
    return (
        timed(partial(decode, data, shortest=DETECTION_SIDE)),
        timed(partial(find_face, image.pixels, detector)),
        timed(partial(align, face, detector, framing)),
        timed(partial(measure, face, crop)),
    )


def forward_alone(engine: EngineName) -> float:
    """Return the milliseconds of one forward pass, with the bundle and precision of the service."""
    device = choose_device()
    bundle = load_bundle(choose_bundle(None)[0])
    embedder = Embedder(bundle, device, choose_precision(device), engine)
    size = bundle.manifest.pixels.size
    crop = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    embedder([crop])
    return timed(partial(embedder, [crop]), 4 * ROUNDS)


def table() -> str:
    """Return the table of milliseconds per stage on one core, for three photo sizes."""
    rows = []
    for width, height in SIZES:
        data = photos(width, height, 1)[0]
        stages = before_encoder(data)
        photo = f"{width * height / 1e6:.1f} MP, {len(data) / 1e6:.1f} MB"
        rows.append((photo, *(f"{ms:.1f}" for ms in stages), f"{sum(stages):.1f}"))
    head = ("photo", "decode", "detect", "align", "quality", "sum")
    return markdown("Before the encoder, ms on one core", head, rows)
