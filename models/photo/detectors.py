"""Implement `face.Detector` three times: with YuNet, with dlib, and for photos that are crops."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidBundle
from models.photo import DetectorName
from models.photo.face import Box, Detector, Face, Pixels, Points, TemplateName
from models.weights import YUNET, YUNET_OF_ITS_MAKERS, check_hash, dlib_file, has_dlib, locate

if TYPE_CHECKING:
    from dlib import rectangle

# Where dlib's five points lie on the average face: the outer and inner corner of the eye on the
# right side of the image, the same of the other eye, and the base of the nose. The numbers are
# those of dlib's `get_face_chip_details`.
_DLIB_POINTS_IN_DLIB_CROP = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ],
    dtype=np.float32,
)

# YuNet's points in the same crop: both eyes, the left one in the image first, the tip of the nose
# and the corners of the mouth. They are means over 2,000 faces that were aligned by dlib's points,
# so that both detectors lead to the same crop.
_YUNET_POINTS_IN_DLIB_CROP = np.array(
    [
        [0.2283, 0.1955],
        [0.7589, 0.1972],
        [0.4895, 0.5190],
        [0.2605, 0.7434],
        [0.7290, 0.7434],
    ],
    dtype=np.float32,
)

# YuNet's points in the crop of 112 pixels that ArcFace and most later networks are trained on.
_YUNET_POINTS_IN_ARCFACE_CROP = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
) / np.float32(112)


@dataclass(frozen=True, slots=True)
class DetectorSource:
    """Say which detector to open, and from which file if it needs one.

    It is small and can be sent to other processes, which then open their own detector.
    """

    name: DetectorName
    weights: Path | None = None

    def open(self) -> Detector:
        """Open the detector; raises InvalidBundle if its files or libraries are missing."""
        match self.name:
            case "dlib":
                return DlibDetector()
            case "yunet":
                return YuNetDetector(self.weights or locate(YUNET))
            case "none":
                return NoDetector()


def find_detector(
    name: DetectorName,
    template: TemplateName,
    weights: Path | None = None,
    yunet_path: Path | None = None,
) -> DetectorSource:
    """Return the source of a detector that is installed and fits the landmark template.

    `weights` is a folder that contains YuNet's file, `yunet_path` the file itself. Raises
    InvalidBundle.
    """
    if name != "none" and template not in _TEMPLATES[name]:
        raise InvalidBundle(
            f"The detector `{name}` does not find the points of the landmark template "
            f"`{template}`; the detectors that do are "
            f"{', '.join(f'`{other}`' for other in _TEMPLATES if template in _TEMPLATES[other])}. "
            "Unset LIKENESS_DETECTOR to use the bundle's own."
        )
    if name == "dlib" and not has_dlib():
        raise InvalidBundle(
            "The detector `dlib` is not installed: pip install dlib-bin face-recognition-models, "
            "or set LIKENESS_DETECTOR=yunet."
        )
    if name != "yunet":
        return DetectorSource(name)
    if yunet_path is not None:
        known = [*YUNET.hashes.values(), YUNET_OF_ITS_MAKERS]
        check_hash(yunet_path, known, "unset LIKENESS_YUNET_PATH to use the installed file")
        return DetectorSource(name, yunet_path)
    return DetectorSource(name, locate(YUNET, weights))


class DlibDetector:
    """Find faces with dlib's frontal HOG detector and its five-point landmark model.

    The image is scaled to a shorter side of `side` pixels. On web photos, this finds 91 to 98 % of
    the faces at a score of -0.3 in about 16 ms.
    """

    name: DetectorName = "dlib"
    # On web photos, 3 % of upright faces score below 0.4, and 98 % of faces that are not upright.
    confident = 0.1
    upright = 0.4
    turned = 0.1
    upside_down = 0.1
    lead = 0.0

    def __init__(self, side: int = 320, threshold: float = -0.3) -> None:
        import dlib

        self._side = side
        self._threshold = threshold
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(
            str(dlib_file("shape_predictor_5_face_landmarks.dat"))
        )

    def template(self, name: TemplateName) -> Points:
        return _TEMPLATES["dlib"][name]

    def detect(self, pixels: Pixels, at_least: float = 0) -> list[Face]:
        small, scale = scale_to(pixels, self._side)
        boxes, scores, _ = self._detector.run(small, 0, self._threshold)
        return [
            self._face(small, box, score, scale) for box, score in zip(boxes, scores, strict=True)
        ]

    def detect_small(self, pixels: Pixels) -> list[Face]:
        return []

    def _face(self, small: Pixels, box: "rectangle", score: float, scale: float) -> Face:
        shape = self._landmarks(small, box)
        points = np.array([(p.x, p.y) for p in shape.parts()], np.float32) / scale
        return Face(
            Box(box.left() / scale, box.top() / scale, box.width() / scale, box.height() / scale),
            points.astype(np.float32),
            float(score),
        )


def scale_to(pixels: Pixels, side: int, longest: int = 4096) -> tuple[Pixels, float]:
    """Scale to a shorter side of `side` and a longer side of at most `longest` pixels.

    Returns the scaled image and the factor.
    """
    height, width = pixels.shape[:2]
    return _scaled(pixels, min(side / min(height, width), longest / max(height, width)))


def _scaled(pixels: Pixels, scale: float) -> tuple[Pixels, float]:
    height, width = pixels.shape[:2]
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, shape, interpolation=method), np.uint8), scale


class YuNetDetector:
    """Find faces with OpenCV's YuNet, large faces first.

    YuNet finds faces of 16 to 300 pixels. In a photo whose longer side is scaled to `NEAR` pixels,
    it finds every face that takes an eighth of that side or more, up to the whole picture, in
    about 7 ms. If there is no such face, the photo is searched again with a longer side of `FAR`
    pixels, which finds faces from a twentieth of it.
    """

    name: DetectorName = "yunet"
    # On web photos, 0.2 % of upright faces score below 0.8.
    confident = 0.8
    # A clear face scores 0.93 to 0.95 upright, at most 0.88 on its side and 0.92 upside down. With
    # a mask or dark glasses it scores 0.7 to 0.9 upright and 0.91 upside down. So only a photo with
    # a clear face is turned upside down, not one with a mask.
    upright = 0.92
    turned = 0.88
    upside_down = 0.92
    lead = 0.03

    NEAR, FAR = 320, 640
    _LARGE = 1 / 8
    # The finer search: faces of 40 pixels are scaled to 24. The tiles overlap by more than a face.
    _SMALLEST, _SEEN_AT, _TILE, _OVERLAP = 40, 24, 1024, 96

    def __init__(self, weights: Path, threshold: float = 0.6) -> None:
        # OpenCV warns about targets that are not used here when it reads a quantised network. The
        # level is that of the whole process, and other threads open detectors too, so it stays.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            side = (self.NEAR, self.NEAR)
            self._detector = cv2.FaceDetectorYN.create(str(weights), "", side, threshold)
        except cv2.error as exc:
            raise InvalidBundle(f"OpenCV cannot read {weights}: {exc.err}.") from exc

    def template(self, name: TemplateName) -> Points:
        return _TEMPLATES["yunet"][name]

    def detect(self, pixels: Pixels, at_least: float = 0) -> list[Face]:
        longest = max(pixels.shape[:2])
        near = self._search(*_scaled(pixels, self.NEAR / longest))
        if at_least >= self._LARGE * longest or any(
            face.score >= self.confident and face.box.shorter >= self._LARGE * longest
            for face in near
        ):
            return near
        far = self._search(*_scaled(pixels, self.FAR / longest))
        return [*far, *_new_faces(near, far)]

    def detect_small(self, pixels: Pixels) -> list[Face]:
        scale = self._SEEN_AT / self._SMALLEST
        if max(pixels.shape[:2]) * scale <= self.FAR:
            return []
        small, _ = _scaled(pixels, scale)
        found: list[Face] = []
        for top, left in _tiles(small.shape[0], small.shape[1], self._TILE, self._OVERLAP):
            tile = small[top : top + self._TILE, left : left + self._TILE]
            faces = [face.moved(left, top) for face in self._search(tile, 1.0)]
            found += _new_faces(faces, found)
        return [face.scaled(1 / scale) for face in found]

    def _search(self, pixels: Pixels, scale: float) -> list[Face]:
        self._detector.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, rows = self._detector.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        rows = np.empty((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)
        return [_yunet_face(row).scaled(1 / scale) for row in rows]


def _yunet_face(row: NDArray[np.float32]) -> Face:
    left, top, width, height = (float(value) for value in row[:4])
    points = np.asarray(row[4:14].reshape(5, 2), np.float32)
    return Face(Box(left, top, width, height), points, float(row[14]))


def _tiles(height: int, width: int, side: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield the top and left of tiles that cover an image."""
    starts = (range(0, max(1, length - overlap), side - overlap) for length in (height, width))
    yield from product(*starts)


def _new_faces(faces: list[Face], known: list[Face]) -> list[Face]:
    """Return the faces that do not overlap with a known face."""
    return [face for face in faces if all(face.box.overlap(other.box) < 0.3 for other in known)]


class NoDetector:
    """Take the whole image for the face, for photos that are aligned crops already."""

    name: DetectorName = "none"
    confident = 0.0
    upright = 0.0
    turned = 0.0
    upside_down = 0.0
    lead = 0.0

    def template(self, name: TemplateName) -> None:
        return None

    def detect(self, pixels: Pixels, at_least: float = 0) -> list[Face]:
        height, width = pixels.shape[:2]
        return [Face(Box(0, 0, width, height), np.zeros((5, 2), np.float32), 1.0)]

    def detect_small(self, pixels: Pixels) -> list[Face]:
        return []


# For each detector, the places of its points in the crop of each landmark template.
_TEMPLATES: Mapping[str, Mapping[TemplateName, Points]] = {
    "dlib": {"dlib": _DLIB_POINTS_IN_DLIB_CROP},
    "yunet": {
        "dlib": _YUNET_POINTS_IN_DLIB_CROP,
        "arcface": _YUNET_POINTS_IN_ARCFACE_CROP,
    },
}
