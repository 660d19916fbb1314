"""Find the channel order and scale of pixels that a face network expects.

An ONNX file does not say whether red or blue comes first, or how 0 to 255 is scaled. With wrong
pixels the network still answers, but worse; this is a common mistake. So all usual conventions
are tried, and the one that separates faces best is the answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.encoder.encoder import Encoder
from models.encoder.engine import open_engine
from models.encoder.pixels import PixelSpec, Triple, stack
from models.errors import InvalidBundle
from models.photo.face import Pixels

_CPU = torch.device("cpu")
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
# How networks scale 0 to 255: name, mean and standard deviation in the range 0 to 1.
SCALES: tuple[tuple[str, Triple, Triple], ...] = (
    ("(x - 127.5) / 127.5", (0.5,) * 3, (0.5,) * 3),
    ("(x - 127.5) / 128", (0.5,) * 3, (128 / 255,) * 3),
    ("x", (0.0,) * 3, (1 / 255,) * 3),
    ("x / 255", (0.0,) * 3, (1.0,) * 3),
    ("ImageNet", IMAGENET_MEAN, IMAGENET_STD),
)
# From this many people on, the convention with the best separation is certain.
ENOUGH = 10
# The least cosine between the vectors of a face in a batch and of the same face alone.
_SAME = 0.9999


@dataclass(frozen=True, slots=True)
class Separation:
    """Hold how well a network separates faces when it gets pixels as `pixels` says.

    `genuine` is the mean cosine of pictures of one person, `impostor` that of two people.
    `distance` is the distance of both kinds in standard deviations (d').
    """

    title: str
    pixels: PixelSpec
    genuine: float
    impostor: float
    distance: float

    @property
    def gap(self) -> float:
        """Return the difference of the two mean cosines."""
        return self.genuine - self.impostor


@dataclass(frozen=True, slots=True)
class FaceSet:
    """Hold crops `(size, size, 3)` uint8 and the number of the person on each."""

    crops: Sequence[Pixels]
    people: NDArray[np.int64]


def conventions(pixels: PixelSpec) -> Iterator[tuple[str, PixelSpec]]:
    """Yield the name and the pixels of every usual convention."""
    for channels in ("rgb", "bgr"):
        for name, mean, std in SCALES:
            yield (
                f"{channels.upper()}, {name}",
                replace(pixels, channels=channels, mean=mean, std=std),
            )


def compare_conventions(encoder: Encoder, faces: FaceSet, pixels: PixelSpec) -> list[Separation]:
    """Measure the separation under every usual convention, best first.

    With fewer than `ENOUGH` people the best one is not certain. Then the most usual convention
    whose gap is close to the widest comes first.
    """
    separations = [
        _separation(
            title, way, _vectors(encoder, faces.crops, replace(way, mirror=False)), faces.people
        )
        for title, way in conventions(pixels)
    ]
    if len(np.unique(faces.people)) >= ENOUGH:
        return sorted(separations, key=lambda each: -each.distance)
    widest = max(each.gap for each in separations)
    return sorted(separations, key=lambda each: each.gap < widest - 0.1)


def check_outputs(encoder: Encoder, faces: FaceSet, pixels: PixelSpec) -> Separation:
    """Check that a network separates faces and is stable under mirroring and batching.

    Returns the separation. Raises InvalidBundle, which says what is wrong.
    """
    single = replace(pixels, mirror=False)
    vectors = _vectors(encoder, faces.crops, single)
    if not np.isfinite(vectors).all():
        raise InvalidBundle("The network returns numbers that are not finite.")
    alone = np.concatenate([_vectors(encoder, [crop], single) for crop in faces.crops[:4]])
    if float(np.sum(alone * vectors[:4], axis=1).min()) < _SAME:
        raise InvalidBundle("A face in a batch gets another vector than the same face alone.")
    mirrored = _vectors(encoder, [np.ascontiguousarray(c[:, ::-1]) for c in faces.crops], single)
    result = _separation("", pixels, vectors, faces.people)
    kept = float(np.mean(np.sum(vectors * mirrored, axis=1)))
    if kept <= result.impostor + 0.1:
        raise InvalidBundle(
            f"A face and its mirror image agree no better (cosine {kept:.2f}) than different "
            f"faces do ({result.impostor:.2f}). Either this network is not made for aligned "
            "faces, or it needs another landmark template, channel order or scale."
        )
    if result.genuine - result.impostor < 0.1:
        raise InvalidBundle(
            f"Pictures of one face have a cosine of {result.genuine:.2f}, pictures of different "
            f"faces one of {result.impostor:.2f}: the network does not tell them apart."
        )
    return result


def vary_crops(crops: Sequence[Pixels]) -> FaceSet:
    """Return each crop as it is, mirrored, darker, and coarser, as four pictures of one person."""
    pictures: list[Pixels] = []
    people: list[int] = []
    for person, crop in enumerate(crops):
        side = len(crop)
        small = cv2.resize(crop, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
        coarse = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
        pictures += [
            crop,
            np.ascontiguousarray(crop[:, ::-1]),
            (crop * 0.6).astype(np.uint8),
            np.asarray(coarse, np.uint8),
        ]
        people += [person] * 4
    return FaceSet(pictures, np.array(people))


def _vectors(encoder: Encoder, crops: Sequence[Pixels], pixels: PixelSpec) -> NDArray[np.float32]:
    engine = open_engine("auto", encoder, pixels, _CPU, "fp32")
    parts = [engine(stack(crops[at : at + 16])).sum(1) for at in range(0, len(crops), 16)]
    vectors: NDArray[np.float32] = torch.nn.functional.normalize(torch.cat(parts)).numpy()
    return vectors


def _separation(
    title: str, pixels: PixelSpec, vectors: NDArray[np.float32], people: NDArray[np.int64]
) -> Separation:
    first, second = np.triu_indices(len(vectors), 1)
    scores = np.sum(vectors[first] * vectors[second], axis=1)
    same = people[first] == people[second]
    if same.all() or not same.any():
        raise InvalidBundle("The pictures must include two of one person, and two people.")
    genuine, impostor = scores[same], scores[~same]
    spread = np.sqrt((genuine.var() + impostor.var()) / 2) + 1e-6
    distance = float((genuine.mean() - impostor.mean()) / spread)
    return Separation(title, pixels, float(genuine.mean()), float(impostor.mean()), distance)
