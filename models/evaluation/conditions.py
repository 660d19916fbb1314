"""Apply capture conditions, such as blur or a mask, to aligned crops, and embed the results.

Such conditions make strangers look alike. Labelled photos of masked or blurred people are rare,
so each condition is applied to ordinary photos. Then any change of the scores comes from the
condition alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from models.cohort import Vectors
from models.datasets.crops import Cutter
from models.datasets.features import Progress, no_progress
from models.decision import CONDITION_NAMES, ConditionName
from models.embedder import Embedder, Row
from models.errors import LikenessError
from models.photo.face import Framing, Pixels

Random = np.random.Generator
Points = NDArray[np.float64]
# A capture condition, or `none` for the photo as it is.
CaptureKind = ConditionName | Literal["none"]

_PHOTOS_AT_ONCE = 512
_CROPS_AT_ONCE = 32

# All lengths below are in pixels of an ArcFace crop of 112 pixels; its eyes lie here.
_SIDE = 112
_EYES = ((38.3, 51.7), (73.5, 51.5))
# The square of the face in that crop: left, top and side.
_LEFT, _TOP, _FACE = 0.192 * _SIDE, 0.345 * _SIDE, 0.622 * _SIDE


@dataclass(frozen=True, slots=True)
class _Canvas:
    """Draw on a crop `(size, size, 3)` uint8 in the coordinates of an ArcFace crop."""

    pixels: Pixels
    scale: float
    left: float
    top: float

    def places(self, points: Points) -> list[tuple[int, int]]:
        """Convert points `(n, 2)` to whole pixels of the crop."""
        placed = points * self.scale + np.array([self.left, self.top])
        return [(round(float(x)), round(float(y))) for x, y in placed]

    def fill(self, points: Points, colour: Points) -> None:
        """Fill a polygon with smooth edges."""
        places = np.array(self.places(points), np.int32)
        cv2.fillPoly(self.pixels, [places], colour.tolist(), cv2.LINE_AA)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: Points) -> None:
        """Draw a line two pixels wide."""
        a, b = self.places(np.array([start, end]))
        cv2.line(self.pixels, a, b, colour.tolist(), max(1, round(2 * self.scale)), cv2.LINE_AA)

    def blur(self, sigma: float) -> Pixels:
        """Return the crop blurred by a Gaussian of `sigma` pixels of the ArcFace crop."""
        return np.asarray(cv2.GaussianBlur(self.pixels, (0, 0), sigma * self.scale), np.uint8)

    def coarsen(self, side: float) -> Pixels:
        """Return the crop as if an ArcFace crop of `side` pixels had been enlarged."""
        size = len(self.pixels)
        small = max(4, round(side * size / (_SIDE * self.scale)))
        if small >= size:
            return self.pixels
        coarse = cv2.resize(self.pixels, (small, small), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


Condition = Callable[[_Canvas, Random], Pixels]


def degrade(crop: Pixels, framing: Framing, condition: ConditionName, random: Random) -> Pixels:
    """Return a copy of an aligned crop `(size, size, 3)` uint8 under a condition.

    The strength is drawn at random: a blur of 2 to 4 pixels of an ArcFace crop of 112, an
    ArcFace crop of 20 to 32 pixels enlarged, 10 to 30 % of the light, JPEG quality 4 to 11.
    """
    return _CONDITIONS[condition](_canvas(crop, framing), random)


def degrade_all(
    crops: Sequence[Pixels], framing: Framing, condition: ConditionName, seed: int = 0
) -> list[Pixels]:
    """Degrade many crops, each with its own strength; the same seed gives the same crops."""
    return [
        degrade(crop, framing, condition, np.random.default_rng((seed, at)))
        for at, crop in enumerate(crops)
    ]


def _canvas(crop: Pixels, framing: Framing) -> _Canvas:
    face = framing.face
    scale = face.width / _FACE
    return _Canvas(crop.copy(), scale, face.left - _LEFT * scale, face.top - _TOP * scale)


def _blurred(canvas: _Canvas, random: Random) -> Pixels:
    return canvas.blur(random.uniform(2, 4))


def _small(canvas: _Canvas, random: Random) -> Pixels:
    return canvas.coarsen(random.uniform(20, 32))


def _masked(canvas: _Canvas, random: Random) -> Pixels:
    """Cover nose, mouth and chin with a mask of a usual colour, or of skin as a hand would."""
    skin = canvas.pixels.reshape(-1, 3)[random.integers(canvas.pixels.size // 3)]
    usual = ((235, 235, 235), (150, 190, 220), (30, 30, 30), random.uniform(30, 230, 3), skin)
    colour = np.array(usual[random.integers(len(usual))], float) + random.uniform(-15, 15, 3)
    top = random.uniform(58, 70)
    rim = [(18, top + 8), (36, top + 2), (56, top - 4), (76, top + 2), (94, top + 8)]
    chin = [(92, 96), (80, 113), (56, 122), (32, 113), (20, 96)]
    canvas.fill(np.array(rim + chin, float), np.clip(colour, 0, 255))
    shade = np.clip(colour - 18, 0, 255)
    for fold in range(int(random.integers(0, 4))):
        at = top + 12 + 10 * fold
        canvas.line((24, at), (88, at), shade)
    return canvas.pixels


def _dark_glasses(canvas: _Canvas, random: Random) -> Pixels:
    """Cover both eyes with dark lenses, round to square, joined by a bridge."""
    wide, high = random.uniform(13, 18), random.uniform(9, 14)
    colour = np.full(3, random.uniform(5, 45)) + random.uniform(-5, 5, 3)
    angles = np.linspace(0, 2 * np.pi, 32)
    # A superellipse: power 2 makes it round, higher powers make it more square.
    rim = np.stack([np.cos(angles), np.sin(angles)], 1)
    rim = np.sign(rim) * np.abs(rim) ** (2 / random.uniform(1.6, 5)) * (wide, high)
    for eye in _EYES:
        canvas.fill(rim + np.array(eye) + (0, 1), np.clip(colour, 0, 255))
    canvas.line(*_EYES, np.clip(colour, 0, 255))
    return canvas.pixels


def _dark(canvas: _Canvas, random: Random) -> Pixels:
    light = canvas.pixels * random.uniform(0.1, 0.3)
    noise = random.normal(0, random.uniform(2, 5), canvas.pixels.shape)
    return np.clip(light + noise, 0, 255).astype(np.uint8)


def _compressed(canvas: _Canvas, random: Random) -> Pixels:
    bgr = np.ascontiguousarray(canvas.pixels[:, :, ::-1])
    quality = int(random.integers(4, 12))
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[:, :, ::-1])


_CONDITIONS: Mapping[ConditionName, Condition] = MappingProxyType(
    {
        "blurred": _blurred,
        "masked": _masked,
        "dark_glasses": _dark_glasses,
        "small": _small,
        "dark": _dark,
        "compressed": _compressed,
    }
)


@dataclass(frozen=True, slots=True)
class Captures:
    """Hold unit vectors `(n, d)` of the same photos, plain and under each condition.

    A photo without a vector has a row of zeros. `features` are the features `(n, w)` that the
    vectors were made of; those of the plain photos have the key `none`.
    """

    plain: Vectors
    degraded: Mapping[ConditionName, Vectors]
    features: Mapping[CaptureKind, Vectors]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Mark the photos `(n,)` that have a vector under every condition."""
        kinds = [self.plain, *self.degraded.values()]
        return np.asarray(np.all([vectors.any(axis=1) for vectors in kinds], axis=0))


def embed_captures(
    files: Sequence[Path],
    embedder: Embedder,
    conditions: Sequence[ConditionName] = CONDITION_NAMES,
    progress: Progress = no_progress,
) -> Captures:
    """Embed photos as they are and under conditions.

    The same photos always give the same vectors. Raises LikenessError if no photo has a face.
    """
    framing = embedder.bundle.manifest.pixels.framing
    kinds: list[CaptureKind] = ["none", *conditions]
    vectors: dict[CaptureKind, list[Vectors]] = {kind: [] for kind in kinds}
    features: dict[CaptureKind, list[Vectors]] = {kind: [] for kind in kinds}
    with Cutter(embedder.bundle.detector, framing) as cutter:
        for start in range(0, len(files), _PHOTOS_AT_ONCE):
            results = list(cutter(files[start : start + _PHOTOS_AT_ONCE]))
            face_places = [at for at, each in enumerate(results) if not isinstance(each, str)]
            crops = [each for each in results if not isinstance(each, str)]
            for kind in kinds:
                kind_crops = crops if kind == "none" else degrade_all(crops, framing, kind, start)
                own, of_encoder = _embed(kind_crops, embedder)
                vectors[kind].append(_spread(own, face_places, len(results)))
                features[kind].append(_spread(of_encoder, face_places, len(results)))
            progress(start + len(results), len(files))
    joined = {kind: np.concatenate(parts) for kind, parts in vectors.items() if parts}
    if not joined or not joined["none"].any():
        raise LikenessError("No face was found in any of these photos.")
    return Captures(
        joined["none"],
        {name: joined[name] for name in conditions},
        {kind: np.concatenate(parts) for kind, parts in features.items()},
    )


def _embed(crops: Sequence[Pixels], embedder: Embedder) -> tuple[Vectors, Vectors]:
    vectors = np.zeros((len(crops), embedder.bundle.dimension), np.float32)
    features = np.zeros((len(crops), embedder.bundle.encoder.width), np.float32)
    for at, row in enumerate(_rows(crops, embedder)):
        if isinstance(row, Row):
            vectors[at], features[at] = row.vector, row.features
    return vectors, features


def _rows(crops: Sequence[Pixels], embedder: Embedder) -> Iterator[Row | LikenessError]:
    for start in range(0, len(crops), _CROPS_AT_ONCE):
        yield from embedder(crops[start : start + _CROPS_AT_ONCE])


def _spread(vectors: Vectors, places: Sequence[int], count: int) -> Vectors:
    spread = np.zeros((count, vectors.shape[1]), np.float32)
    spread[list(places)] = vectors
    return spread
