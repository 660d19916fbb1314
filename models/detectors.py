"""The three detectors behind `face.Detector`: dlib, YuNet, and none for ready crops."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Literal

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidBundle
from models.face import Box, Detector, Face, Pixels, Points

DetectorName = Literal["dlib", "yunet", "none"]

YUNET_SHA256 = "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12"

# Where dlib's five points (outer and inner corner of the left eye as the camera sees the
# right, then of the other, then the base of the nose) lie on the average face; the numbers
# are those of dlib's own `get_face_chip_details`.
_DLIB_TEMPLATE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ],
    dtype=np.float32,
)


def model_file(name: str) -> Path:
    """Return the path of a weight file of the package `face-recognition-models`.

    The package is located, not imported: its import needs `pkg_resources`, which current
    setuptools no longer ships.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidBundle("The package face-recognition-models is not installed.")
    return Path(spec.submodule_search_locations[0]) / "models" / name


class DlibDetector:
    """Find faces with dlib's frontal HOG detector and its five-point landmark model.

    The image is scaled to a short side of `side` pixels: measured on web photos, that finds
    98 to 100 % of the faces at a score of -0.3 in about 16 ms.
    """

    name = "dlib"
    # On web photos, 3 % of the faces score less than 0.4 upright, 98 % on their side or head.
    confident = 0.1
    upright = 0.4
    template: Points = _DLIB_TEMPLATE

    def __init__(self, side: int = 320, threshold: float = -0.3) -> None:
        self._side = side
        self._threshold = threshold
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(
            str(model_file("shape_predictor_5_face_landmarks.dat"))
        )

    def detect(self, pixels: Pixels) -> list[Face]:
        small, scale = scale_to(pixels, self._side)
        boxes, scores, _ = self._detector.run(small, 0, self._threshold)
        return [
            self._face(small, box, score, scale) for box, score in zip(boxes, scores, strict=True)
        ]

    def _face(self, small: Pixels, box: "dlib.rectangle", score: float, scale: float) -> Face:
        shape = self._landmarks(small, box)
        points = np.array([(p.x, p.y) for p in shape.parts()], np.float32) / scale
        return Face(
            Box(box.left() / scale, box.top() / scale, box.width() / scale, box.height() / scale),
            points.astype(np.float32),
            float(score),
        )


def scale_to(pixels: Pixels, side: int, longest: int = 4096) -> tuple[Pixels, float]:
    """Scale so that the shorter side is `side`, the longer at most `longest`; give the factor."""
    height, width = pixels.shape[:2]
    scale = min(side / min(height, width), longest / max(height, width))
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, shape, interpolation=method), np.uint8), scale


# Right eye, left eye, nose tip and mouth corners: their means over 2,000 faces that were
# aligned by dlib's template, so that both detectors give the encoder the same crop.
_YUNET_TEMPLATE = np.array(
    [
        [0.2283, 0.1955],
        [0.7589, 0.1972],
        [0.4895, 0.5190],
        [0.2605, 0.7434],
        [0.7290, 0.7434],
    ],
    dtype=np.float32,
)


class YuNetDetector:
    """Find faces with OpenCV's YuNet, on the image scaled to a short side of `side` pixels."""

    name = "yunet"
    # On web photos, faces upright score 0.91 and more, on their side 0.92 and less.
    confident = 0.8
    upright = 0.92
    template: Points = _YUNET_TEMPLATE

    def __init__(self, weights: Path, side: int = 320, threshold: float = 0.6) -> None:
        if not weights.is_file():
            raise InvalidBundle(f"No YuNet weights at {weights}.")
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest != YUNET_SHA256:
            raise InvalidBundle(f"{weights} has SHA-256 {digest}; YuNet's is {YUNET_SHA256}.")
        self._side = side
        self._detector = cv2.FaceDetectorYN.create(str(weights), "", (side, side), threshold)

    def detect(self, pixels: Pixels) -> list[Face]:
        small, scale = scale_to(pixels, self._side)
        self._detector.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._detector.detect(np.ascontiguousarray(small[:, :, ::-1]))
        return [] if rows is None else [self._face(row / scale, row[14]) for row in rows]

    def _face(self, row: NDArray[np.float32], score: float) -> Face:
        left, top, width, height = (float(value) for value in row[:4])
        points = np.asarray(row[4:14].reshape(5, 2), np.float32)
        return Face(Box(left, top, width, height), points, float(score))


class NoDetector:
    """Take the whole image for the face: for crops that were aligned elsewhere."""

    name = "none"
    confident = 0.0
    upright = 0.0
    template = None

    def detect(self, pixels: Pixels) -> list[Face]:
        height, width = pixels.shape[:2]
        return [Face(Box(0, 0, width, height), np.zeros((5, 2), np.float32), 1.0)]


def open_detector(name: DetectorName, yunet_weights: Path | None = None) -> Detector:
    """Build the detector of this name; YuNet needs the path of its weights."""
    match name:
        case "dlib":
            return DlibDetector()
        case "yunet":
            if yunet_weights is None:
                raise InvalidBundle("The detector `yunet` needs the path of its ONNX file.")
            return YuNetDetector(yunet_weights)
        case "none":
            return NoDetector()
