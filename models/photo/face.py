"""Find the face that counts in an upright image, and cut it out as an aligned crop.

A `Detector` returns every `Face` of an image. `find_face` turns the photo if it lies on its side,
chooses the face that counts and returns a `DetectedFace`. `align` cuts it out as a `Crop`, in
which the landmarks lie where a `Framing` wants them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import FaceTooSmall, NoFace, SeveralFaces
from models.photo import FacePolicy

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]
TemplateName = Literal["dlib", "arcface"]

# The square that the face fills (left, top, side), in the unit square of a landmark template. For
# dlib's template it is the whole unit square; ArcFace's shows more of the head. The second was
# computed from the first by the map between the landmarks of both.
_FACE_SQUARE: Mapping[TemplateName, tuple[float, float, float]] = {
    "dlib": (0.0, 0.0, 1.0),
    "arcface": (0.192, 0.345, 0.622),
}

# A second detection is a second person only if it is confident and not much smaller than the
# first one: the detectors run at a low threshold, which also finds faces in wallpaper.
_BYSTANDER_AREA = 0.25
# Faces whose areas differ by less than this factor count as equally large.
_ALIKE_AREA = 0.5

# Detectors scale the shorter side to 320 pixels themselves. At almost twice that they lose nothing,
# and photos with a shorter side of 1,200 pixels can be halved.
DETECTION_SIDE = 600


@dataclass(frozen=True, slots=True)
class Box:
    """Hold an axis-aligned box in pixels of the upright image; it may extend over its border."""

    left: float
    top: float
    width: float
    height: float

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def shorter(self) -> float:
        return min(self.width, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return self.left + self.width / 2, self.top + self.height / 2

    def overlap(self, other: "Box") -> float:
        """Return the intersection of both boxes divided by their union, 0 to 1."""
        right = min(self.left + self.width, other.left + other.width)
        bottom = min(self.top + self.height, other.top + other.height)
        across = max(0.0, right - max(self.left, other.left))
        down = max(0.0, bottom - max(self.top, other.top))
        shared = across * down
        return shared / (self.area + other.area - shared)

    def scaled(self, by: float) -> "Box":
        return Box(self.left * by, self.top * by, self.width * by, self.height * by)


@dataclass(frozen=True, slots=True)
class Framing:
    """Say how a face is cut out: `size` in pixels, its landmark template, and the margin.

    `margin` is added to every side of the template's unit square, in its units.
    """

    size: int
    margin: float
    template: TemplateName = "dlib"

    @property
    def template_px(self) -> float:
        """Return the side of the template's unit square, in pixels of the crop."""
        return self.size / (1 + 2 * self.margin)

    @property
    def face_px(self) -> float:
        """Return the side of the square that the face fills, in pixels of the crop."""
        return self.face.width

    @property
    def face(self) -> Box:
        """Return the square that the face fills, in pixels of the crop."""
        left, top, side = _FACE_SQUARE[self.template]
        return Box(left + self.margin, top + self.margin, side, side).scaled(self.template_px)


@dataclass(frozen=True, slots=True)
class Face:
    """Hold one detection: box, `(5, 2)` float32 landmarks in pixels, and the detector's score."""

    box: Box
    landmarks: Points
    score: float

    def scaled(self, by: float) -> "Face":
        return Face(self.box.scaled(by), self.landmarks * np.float32(by), self.score)

    def moved(self, across: float, down: float) -> "Face":
        box = self.box
        moved = Box(box.left + across, box.top + down, box.width, box.height)
        return Face(moved, self.landmarks + np.array([across, down], np.float32), self.score)


class Detector(Protocol):
    """Find faces in images; an instance is used by one thread at a time.

    All properties but the name are scores. They decide which detections are faces, and whether a
    face found in the turned photo replaces one found in the photo as it is.
    """

    @property
    def name(self) -> str: ...

    @property
    def confident(self) -> float:
        """Return the score from which a detection counts as a face."""

    @property
    def upright(self) -> float:
        """Return the score from which a face is surely upright, so that the photo is not turned."""

    @property
    def turned(self) -> float:
        """Return the least score of a face in the photo after a quarter turn."""

    @property
    def upside_down(self) -> float:
        """Return the least score of a face in the photo after a half turn."""

    @property
    def lead(self) -> float:
        """Return by how much a face in the turned photo must score above the photo as it is."""

    def template(self, name: TemplateName) -> Points | None:
        """Return where the landmarks lie in a crop of margin 0, in units of the crop's side.

        The result is `(5, 2)` float32 in the detector's order of landmarks. It is None if the
        image is taken for a crop already.
        """

    def detect(self, pixels: Pixels, at_least: float = 0) -> list[Face]:
        """Return the faces of `(h, w, 3)` uint8 RGB in any order.

        Faces whose shorter side is under `at_least` pixels may be missing.
        """

    def detect_small(self, pixels: Pixels) -> list[Face]:
        """Search the whole photo in more detail, which takes longer; return the faces found."""


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """Hold the face that counts, and the image it was found in.

    `pixels` are already turned: `turns` is the number of anticlockwise quarter turns that brought
    the face upright. `face` is in pixels of these. `face_count` is the number of faces found. One
    of `pixels` is `reduction` pixels of the photo wide.
    """

    pixels: Pixels
    face: Face
    face_count: int
    turns: int
    reduction: float = 1.0

    @property
    def box(self) -> Box:
        """Return the box of the face in the photo as it was, not turned and not reduced."""
        box = self.face.box
        corners = [(box.left, box.top), (box.left + box.width, box.top + box.height)]
        back = self._in_photo(np.array(corners))
        (left, top), (right, bottom) = back.min(axis=0).tolist(), back.max(axis=0).tolist()
        return Box(left, top, right - left, bottom - top)

    @property
    def landmarks(self) -> Points:
        """Return the landmarks `(5, 2)` float32 in the photo as it was."""
        return np.asarray(self._in_photo(np.asarray(self.face.landmarks, np.float64)), np.float32)

    def _in_photo(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        height, width = self.pixels.shape[:2]
        return _rotate_back(points, self.turns, width, height) * self.reduction

    def enlarged(self, pixels: Pixels) -> "DetectedFace":
        """Return the same face in `pixels`, the photo in full size `(h, w, 3)`, not turned."""
        face = self.face.scaled(self.reduction)
        return DetectedFace(_rotate(pixels, self.turns), face, self.face_count, self.turns)


def find_face(
    pixels: Pixels,
    detector: Detector,
    policy: FacePolicy = "single",
    min_face_px: float = 0,
    reduction: float = 1.0,
    finer: bool = False,
) -> DetectedFace:
    """Find the face that counts; turn the photo if no face is clearly upright.

    `pixels` may be a photo that was reduced by `reduction`. With `finer`, small faces are searched
    for too, but the photo is not turned. Raises NoFace, SeveralFaces (for the policy `single`) and
    FaceTooSmall, if the shorter side of its box is under `min_face_px` pixels of the photo.
    """
    faces, turns = _detect(pixels, detector, finer)
    upright = _rotate(pixels, turns)
    face = choose_face(faces, policy, detector.confident, _centre(upright))
    return _large_faces(upright, [face], len(faces), turns, min_face_px, reduction)[0]


def find_faces(
    pixels: Pixels,
    detector: Detector,
    min_face_px: float = 0,
    reduction: float = 1.0,
    finer: bool = False,
) -> list[DetectedFace]:
    """Find all confident faces, the largest first; without any, the face with the best score.

    Raises NoFace and FaceTooSmall as `find_face` does.
    """
    faces, turns = _detect(pixels, detector, finer)
    upright = _rotate(pixels, turns)
    sure = [face for face in faces if face.score >= detector.confident]
    best = [choose_face(faces, "largest", np.inf, _centre(upright))]
    ranked = sorted(sure or best, key=lambda face: -face.box.area)
    return _large_faces(upright, ranked, len(faces), turns, min_face_px, reduction)


def _detect(pixels: Pixels, detector: Detector, finer: bool) -> tuple[list[Face], int]:
    """Return all faces, at least one, and the number of turns that bring them upright."""
    if finer:
        faces, turns, shrunk = detector.detect_small(pixels), 0, 1.0
    else:
        small, shrunk = _shrink_to_detect(pixels)
        faces, turns = _detect_upright(small, detector)
    if not faces:
        raise NoFace("No face was found in the image, upright or turned.")
    return [face.scaled(shrunk) for face in faces], turns


def _shrink_to_detect(pixels: Pixels) -> tuple[Pixels, float]:
    """Shrink a large image once, before it is turned and scaled four times; return the factor."""
    by = min(pixels.shape[:2]) / DETECTION_SIDE
    if by < 2:
        return pixels, 1.0
    height, width = pixels.shape[:2]
    small = (max(1, round(width / by)), max(1, round(height / by)))
    return np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8), by


def _detect_upright(pixels: Pixels, detector: Detector) -> tuple[list[Face], int]:
    """Return the faces and the number of quarter turns that bring them upright.

    Detectors find faces in photos that lie on their side, but place the landmarks wrongly. The
    score shows it: on web photos it is lower than upright in all but one of a thousand photos.
    """
    faces = detector.detect(pixels)
    as_it_lies = best = _top_score(faces)
    # Turning does not change the size of a face, so smaller faces need not be searched for.
    at_least = 0.7 * min((face.box.shorter for face in faces), default=0.0)
    turns = 0
    for quarters in (1, 2, 3):
        if best >= detector.upright:
            break
        candidates = detector.detect(_rotate(pixels, quarters), at_least)
        # A face found only after turning must be beyond doubt: wallpaper has four sides.
        least = detector.upside_down if quarters == 2 else detector.turned
        score = _top_score(candidates)
        if score >= least and score > max(best, as_it_lies + detector.lead):
            best, turns = score, quarters
            faces = [face for face in candidates if face.score >= detector.confident]
    return faces, turns


def _top_score(faces: Sequence[Face]) -> float:
    return max((face.score for face in faces), default=-np.inf)


def _centre(pixels: Pixels) -> tuple[float, float]:
    return pixels.shape[1] / 2, pixels.shape[0] / 2


def _large_faces(
    upright: Pixels, faces: list[Face], count: int, turns: int, least: float, reduction: float
) -> list[DetectedFace]:
    sides = [min(face.box.width, face.box.height) * reduction for face in faces]
    if max(sides) < least:
        raise FaceTooSmall(f"The face is {max(sides):.0f} pixels wide; {least:.0f} are needed.")
    large = [face for face, side in zip(faces, sides, strict=True) if side >= least]
    return [DetectedFace(upright, face, count, turns, reduction) for face in large]


def _rotate(pixels: Pixels, turns: int) -> Pixels:
    """Turn `(h, w, 3)` by anticlockwise quarter turns."""
    return pixels if turns == 0 else np.ascontiguousarray(np.rot90(pixels, turns))


def _rotate_back(
    points: NDArray[np.float64], turns: int, width: float, height: float
) -> NDArray[np.float64]:
    """Map points `(n, 2)` in a turned image of `(height, width)` to the image before turning."""
    for _ in range(turns):
        # Undoing one anticlockwise turn is a clockwise turn.
        points = np.stack([height - points[:, 1], points[:, 0]], axis=1)
        width, height = height, width
    return points


def choose_face(
    faces: Sequence[Face], policy: FacePolicy, confident: float, centre: tuple[float, float]
) -> Face:
    """Choose the face that counts: the largest confident face, or else the best score.

    Among faces that are about as large as the largest, it is the face nearest to the `centre` of
    the photo, which the photo was most likely taken of. Raises SeveralFaces if the policy is
    `single` and another confident face has at least a quarter of the area of the largest.
    """
    sure = [face for face in faces if face.score >= confident]
    if not sure:
        return max(faces, key=lambda face: face.score)
    largest = max(face.box.area for face in sure)
    rivals = [face for face in sure if face.box.area >= _BYSTANDER_AREA * largest]
    if policy == "single" and len(rivals) > 1:
        raise SeveralFaces(f"The image shows {len(rivals)} faces of similar size; one is expected.")
    alike = [face for face in rivals if face.box.area >= _ALIKE_AREA * largest]
    return min(alike, key=lambda face: math.dist(face.box.centre, centre))


@dataclass(frozen=True, slots=True)
class Crop:
    """Hold an aligned face, `(size, size, 3)` uint8 RGB, and how it was cut.

    `scale` is crop pixels per image pixel and `roll_degrees` the tilt of the head in the image.
    `misfit` is the RMS distance of the landmarks from the template, in units of the face's side;
    it is large for faces in profile. `face` is the square that the face fills, in crop pixels.
    """

    pixels: Pixels
    scale: float
    roll_degrees: float
    misfit: float
    face: Box


def align(detected: DetectedFace, detector: Detector, framing: Framing) -> Crop:
    """Cut out the crop whose landmarks lie as in the framing's template.

    The map is the similarity transform that is closest by least squares (Umeyama 1991). Areas
    outside the image become black. If the detector gives no landmarks, the crop is the centre
    square of the image, scaled.
    """
    pixels, size = detected.pixels, framing.size
    template = detector.template(framing.template)
    if template is None:
        scale = size / min(pixels.shape[:2])
        return Crop(centre_square(pixels, size), scale, 0.0, 0.0, framing.face)
    target = (template + framing.margin) * framing.template_px
    matrix = similarity_transform(detected.face.landmarks, target)
    placed = detected.face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    misfit = float(np.sqrt(np.mean(np.sum((placed - target) ** 2, axis=1)))) / framing.face_px
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    roll = float(np.degrees(np.arctan2(-matrix[1, 0], matrix[0, 0])))
    if scale < 0.5:
        pixels, matrix = _shrink(pixels, matrix, 2 * scale)
    crop = cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return Crop(np.asarray(crop, np.uint8), scale, roll, misfit, framing.face)


def _shrink(
    pixels: Pixels, matrix: NDArray[np.float64], scale: float
) -> tuple[Pixels, NDArray[np.float64]]:
    """Average pixels before warping: bilinear warping skips pixels if it shrinks a lot."""
    height, width = pixels.shape[:2]
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
    factors = np.array([width / small[0], height / small[1], 1.0])
    return shrunk, matrix * factors


def similarity_transform(source: Points, target: Points) -> NDArray[np.float64]:
    """Return the `(2, 3)` rotation, scale and shift that best maps source to target.

    Both are `(n, 2)`. With points as complex numbers, a similarity without reflection is
    `z -> a z + b`, and least squares has a closed form. Raises NoFace if all points of source are
    the same.
    """
    z = source[:, 0].astype(np.float64) + 1j * source[:, 1].astype(np.float64)
    w = target[:, 0].astype(np.float64) + 1j * target[:, 1].astype(np.float64)
    spread = z - z.mean()
    energy = float(np.vdot(spread, spread).real)
    if energy < 1e-9:
        raise NoFace("The landmarks of the face fall on one point.")
    a = np.vdot(spread, w - w.mean()) / energy
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def centre_square(pixels: Pixels, size: int) -> Pixels:
    """Scale the shorter side to `size` and cut the centre square, as CLIP's processor does.

    Scaling is bicubic with antialiasing, and the longer side is rounded down. Only the square is
    scaled: otherwise an image of one row would become gigabytes.
    """
    height, width = pixels.shape[:2]
    across, down = _longer_side(width, height, size), _longer_side(height, width, size)
    left, top = (across - size) // 2, (down - size) // 2
    per_x, per_y = width / across, height / down
    square = (left * per_x, top * per_y, (left + size) * per_x, (top + size) * per_y)
    scaled = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, square)
    return np.array(scaled, np.uint8)


def _longer_side(side: int, other: int, size: int) -> int:
    return size if side <= other else int(size * side / other)
