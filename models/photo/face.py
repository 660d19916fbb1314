"""Find faces in an upright image and cut the one that counts into an aligned crop."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import FaceTooSmall, NoFace, SeveralFaces
from models.photo import Policy


def rotate(pixels: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    """Return `(h, w, 3)` turned."""
    return pixels if turns == 0 else np.ascontiguousarray(np.rot90(pixels, turns))


def rotate_points_back(
    points: NDArray[np.float64], turns: int, width: float, height: float
) -> NDArray[np.float64]:
    """Map `(n, 2)` points from a turned image of `(height, width)` to what it was before."""
    for _ in range(turns):
        # Undoing one anticlockwise turn is a clockwise turn.
        points = np.stack([height - points[:, 1], points[:, 0]], axis=1)
        width, height = height, width
    return points


Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]
TemplateName = Literal["dlib", "arcface"]


# Where the face's square (left, top, side) lies in the unit square of a landmark template: dlib's
# is that square; ArcFace's shows the whole head. By the map between the landmarks of both.
_FACE_SQUARE: Mapping[TemplateName, tuple[float, float, float]] = {
    "dlib": (0.0, 0.0, 1.0),
    "arcface": (0.192, 0.345, 0.622),
}


@dataclass(frozen=True, slots=True)
class Framing:
    """Say how a face is cut out: `size` in pixels, its landmark template, and the margin.

    `margin` is added on every side of the template's unit square, in its units.
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
        """Return the side of the square that the face itself fills, in pixels of the crop."""
        return self.face.width

    @property
    def face(self) -> "Box":
        """Return that square, in pixels of the crop."""
        left, top, side = _FACE_SQUARE[self.template]
        return Box(left + self.margin, top + self.margin, side, side).scaled(self.template_px)


# A second detection is a second person only if it is confident and not much smaller than
# the first: the detectors run at a permissive threshold that also sees faces in wallpaper.
_BYSTANDER_AREA = 0.25
# Of faces that differ less than this in area, none is clearly the larger.
_ALIKE_AREA = 0.5

# Detectors scale the shorter side to 320 pixels themselves; nearly twice that loses them nothing,
# and photos of 1,200 pixels are halved too.
DETECTION_SIDE = 600


@dataclass(frozen=True, slots=True)
class Box:
    """Hold an axis-aligned box; pixels of the upright image, may reach over its border."""

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
        """Return the area that both share, as a share of what they cover together."""
        right = min(self.left + self.width, other.left + other.width)
        bottom = min(self.top + self.height, other.top + other.height)
        across = max(0.0, right - max(self.left, other.left))
        down = max(0.0, bottom - max(self.top, other.top))
        shared = across * down
        return shared / (self.area + other.area - shared)

    def scaled(self, by: float) -> "Box":
        return Box(self.left * by, self.top * by, self.width * by, self.height * by)


@dataclass(frozen=True, slots=True)
class Face:
    """Hold one detection: box, `(5, 2)` float32 landmarks in pixels, detector score."""

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
    """Find faces; an instance is used by one thread at a time.

    `confident` is the score from which a detection is taken for a face without further
    evidence, `upright` the score that only an upright face reaches. A face that is found after
    turning the photo replaces one found as the photo lies only if it scores `turned` or more,
    and more by `lead`; upside down it must reach `upside_down`.
    """

    @property
    def name(self) -> str: ...

    @property
    def confident(self) -> float: ...

    @property
    def upright(self) -> float: ...

    @property
    def turned(self) -> float: ...

    @property
    def upside_down(self) -> float: ...

    @property
    def lead(self) -> float: ...

    def template(self, name: TemplateName) -> Points | None:
        """Return where the landmarks lie in a crop of margin 0, in units of the crop's side.

        `(5, 2)` float32, in the order of its landmarks; None if the image is a crop already.
        """

    def detect(self, pixels: Pixels, at_least: float = 0) -> list[Face]:
        """Return the faces of `(h, w, 3)` uint8 RGB, in no particular order.

        Faces with a shorter side under `at_least` pixels need not be found.
        """

    def detect_small(self, pixels: Pixels) -> list[Face]:
        """Return the faces that only a finer, slower look at the whole photo finds."""


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """Hold the face that counts, in the frame of `pixels`.

    `turns` counts the quarter turns anticlockwise that brought the face upright; `pixels`
    are already turned. `faces` is the number of faces seen. `reduction` is how many pixels
    of the photo one of `pixels` is wide.
    """

    pixels: Pixels
    face: Face
    face_count: int
    turns: int
    reduction: float = 1.0

    @property
    def box(self) -> Box:
        """Return the face's box in the photo as it was before turning and reducing."""
        box = self.face.box
        corners = [(box.left, box.top), (box.left + box.width, box.top + box.height)]
        back = self._in_photo(np.array(corners))
        (left, top), (right, bottom) = back.min(axis=0).tolist(), back.max(axis=0).tolist()
        return Box(left, top, right - left, bottom - top)

    @property
    def landmarks(self) -> Points:
        """Return the face's landmarks in that photo, `(5, 2)` float32."""
        return np.asarray(self._in_photo(np.asarray(self.face.landmarks, np.float64)), np.float32)

    def _in_photo(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        height, width = self.pixels.shape[:2]
        return rotate_points_back(points, self.turns, width, height) * self.reduction

    def enlarged(self, pixels: Pixels) -> "DetectedFace":
        """Return the same face in the whole photo, `(h, w, 3)`, upright as its file is."""
        return DetectedFace(
            rotate(pixels, self.turns),
            self.face.scaled(self.reduction),
            self.face_count,
            self.turns,
        )


def find_face(
    pixels: Pixels,
    detector: Detector,
    policy: Policy = "single",
    min_face_px: float = 0,
    reduction: float = 1.0,
    finer: bool = False,
) -> DetectedFace:
    """Find the face that counts, trying three quarter turns when none is surely upright.

    `pixels` may be a photo reduced by `reduction`; `finer` looks for small faces, in the photo
    as it lies. Raises NoFace, SeveralFaces (policy `single`), FaceTooSmall (shorter side of
    its box under `min_face_px` of the photo).
    """
    faces, turns = _seen(pixels, detector, finer)
    upright = rotate(pixels, turns)
    face = choose_face(faces, policy, detector.confident, _centre(upright))
    return _large(upright, [face], len(faces), turns, min_face_px, reduction)[0]


def find_faces(
    pixels: Pixels,
    detector: Detector,
    min_face_px: float = 0,
    reduction: float = 1.0,
    finer: bool = False,
) -> list[DetectedFace]:
    """Find the confident faces, largest first, or else the best scored; raises as `find` does."""
    faces, turns = _seen(pixels, detector, finer)
    upright = rotate(pixels, turns)
    sure = [face for face in faces if face.score >= detector.confident]
    best = [choose_face(faces, "largest", np.inf, _centre(upright))]
    ranked = sorted(sure or best, key=lambda face: -face.box.area)
    return _large(upright, ranked, len(faces), turns, min_face_px, reduction)


def _seen(pixels: Pixels, detector: Detector, finer: bool) -> tuple[list[Face], int]:
    """Return all faces of the image, one at least, and the turns that bring them upright."""
    if finer:
        faces, turns, shrunk = detector.detect_small(pixels), 0, 1.0
    else:
        small, shrunk = _for_detection(pixels)
        faces, turns = _upright(small, detector)
    if not faces:
        raise NoFace("No face was found in the image, upright or turned.")
    return [face.scaled(shrunk) for face in faces], turns


def _centre(pixels: Pixels) -> tuple[float, float]:
    return pixels.shape[1] / 2, pixels.shape[0] / 2


def _large(
    upright: Pixels, faces: list[Face], seen: int, turns: int, least: float, reduction: float
) -> list[DetectedFace]:
    sides = [min(face.box.width, face.box.height) * reduction for face in faces]
    if max(sides) < least:
        raise FaceTooSmall(f"The face is {max(sides):.0f} pixels wide; {least:.0f} are needed.")
    kept = [face for face, side in zip(faces, sides, strict=True) if side >= least]
    return [DetectedFace(upright, face, seen, turns, reduction) for face in kept]


def _for_detection(pixels: Pixels) -> tuple[Pixels, float]:
    """Shrink a large image once, before it is turned and scaled four times; give the factor."""
    by = min(pixels.shape[:2]) / DETECTION_SIDE
    if by < 2:
        return pixels, 1.0
    height, width = pixels.shape[:2]
    small = (max(1, round(width / by)), max(1, round(height / by)))
    return np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8), by


def _upright(pixels: Pixels, detector: Detector) -> tuple[list[Face], int]:
    """Return the faces and the quarter turns that bring them upright.

    Detectors see faces in photos that lie on their side, but put the landmarks wrong. The
    score tells: measured on web photos, it is lower than upright in all but one of a thousand.
    """
    faces = detector.detect(pixels)
    as_it_lies = best = _top_score(faces)
    # The same face turned is as large as it was: there is no need to look for smaller ones.
    at_least = 0.7 * min((face.box.shorter for face in faces), default=0.0)
    turns = 0
    for quarters in (1, 2, 3):
        if best >= detector.upright:
            break
        seen = detector.detect(rotate(pixels, quarters), at_least)
        # A face seen only after turning must be beyond doubt: wallpaper has four sides.
        least = detector.upside_down if quarters == 2 else detector.turned
        score = _top_score(seen)
        if score >= least and score > max(best, as_it_lies + detector.lead):
            best, turns = score, quarters
            faces = [face for face in seen if face.score >= detector.confident]
    return faces, turns


def _top_score(faces: Sequence[Face]) -> float:
    return max((face.score for face in faces), default=-np.inf)


def choose_face(
    faces: Sequence[Face], policy: Policy, confident: float, centre: tuple[float, float]
) -> Face:
    """Choose the face that counts: the largest confident one, else the best scored.

    Of faces about as large as the largest, the one nearest to the `centre` of the photo counts:
    that is the one the photo was taken of. Raises SeveralFaces if the policy is `single` and
    another confident face has at least a quarter of the largest one's area.
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

    `scale` is crop pixels per image pixel, `roll_degrees` the head's tilt in the image,
    `misfit` the RMS distance of the landmarks from the template in units of the face's side:
    large for faces in profile. `face` is the square that the face fills, in pixels of the crop.
    """

    pixels: Pixels
    scale: float
    roll_degrees: float
    misfit: float
    face: Box


def align(found: DetectedFace, detector: Detector, framing: Framing) -> Crop:
    """Cut the crop whose landmarks lie as in the framing's template.

    The map is the similarity that is closest in the least-squares sense (Umeyama 1991). What
    lies outside the image is black. Without landmarks the crop is the image itself, scaled and
    centre-cropped.
    """
    pixels, size = found.pixels, framing.size
    template = detector.template(framing.template)
    if template is None:
        scale = size / min(pixels.shape[:2])
        return Crop(centre_square(pixels, size), scale, 0.0, 0.0, framing.face)
    target = (template + framing.margin) * framing.template_px
    matrix = similarity_transform(found.face.landmarks, target)
    placed = found.face.landmarks @ matrix[:, :2].T + matrix[:, 2]
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
    """Average pixels before warping: bilinear warping skips pixels when it shrinks a lot."""
    height, width = pixels.shape[:2]
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk = np.asarray(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), np.uint8)
    factors = np.array([width / small[0], height / small[1], 1.0])
    return shrunk, matrix * factors


def similarity_transform(source: Points, target: Points) -> NDArray[np.float64]:
    """Return the `(2, 3)` rotation, scale and shift that best maps source onto target.

    Both are `(n, 2)`. Points are taken as complex numbers, where a similarity without
    reflection is `z -> a z + b` and least squares has a closed form.
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

    Bicubic with antialiasing, the longer side rounded down. Only what the square shows is
    scaled: an image of one row would else become gigabytes.
    """
    height, width = pixels.shape[:2]
    across, down = _fit_side(width, height, size), _fit_side(height, width, size)
    left, top = (across - size) // 2, (down - size) // 2
    per_x, per_y = width / across, height / down
    seen = (left * per_x, top * per_y, (left + size) * per_x, (top + size) * per_y)
    scaled = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, seen)
    return np.array(scaled, np.uint8)


def _fit_side(side: int, other: int, size: int) -> int:
    return size if side <= other else int(size * side / other)
