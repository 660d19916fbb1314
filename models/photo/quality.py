"""Measure the quality of a face in a photo, and give advice for the next photo.

These are simple measures of the image in the spirit of ISO/IEC 29794-5, not a learned score. Each
names one problem and what to do about it.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from models.photo.face import Crop, DetectedFace

# Faces are measured at this side of their square. It is that of a crop of 112 pixels with as much
# around the face as dlib's crop has.
_MEASURED_AT = 112 / 1.5
_RIM = 0.05


@dataclass(frozen=True, slots=True)
class Issue:
    """Name one problem of a photo, and what to do about it."""

    code: str
    advice: str


@dataclass(frozen=True, slots=True)
class Quality:
    """Hold the measures of one face.

    `face_px` is the shorter side of its box in the image. `sharpness` is the standard deviation of
    the Laplacian, `brightness` the mean and `contrast` the standard deviation of the crop's grey
    values, all in grey values of 0 to 255. `roll_degrees` is the tilt of the head. `misfit` is how
    far the landmarks lie from those of a frontal face, in units of the face's side. `detection` is
    the detector's score.
    """

    face_px: float
    sharpness: float
    brightness: float
    contrast: float
    roll_degrees: float
    misfit: float
    detection: float
    issues: tuple[Issue, ...]


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Hold the limits at which a measure becomes an issue.

    `sharpness_to_contrast` distinguishes blur from dim light, which lowers both measures.
    """

    face_px: float = 64
    sharpness: float = 6
    sharpness_to_contrast: float = 0.14
    dark: float = 40
    bright: float = 225
    contrast: float = 18
    roll_degrees: float = 30
    misfit: float = 0.1


# Beyond these limits a photo makes a bad template: genuine comparisons with it fail at least twice
# as often at the default bundle's FMR 1e-3 (`python -m tests.tools.bench.quality DIR --worse`).
HARMFUL = QualityLimits(
    face_px=0,
    sharpness=0,
    dark=16,
    contrast=4,
    roll_degrees=180,
    misfit=0.13,
)


def measure(detected: DetectedFace, crop: Crop, limits: QualityLimits | None = None) -> Quality:
    """Measure a face and list the issues of the photo."""
    limits = limits or QualityLimits()
    # A smaller face is not enlarged: that would blur it.
    scale = min(1.0, _MEASURED_AT / crop.face.width)
    side = max(8, round(len(crop.pixels) * scale))
    grey = cv2.cvtColor(
        cv2.resize(crop.pixels, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    # Hair, background and black borders lie around the face, so its rim is left out.
    square = crop.face.scaled(side / len(crop.pixels))
    rim = _RIM * square.width
    top, bottom = round(square.top + rim), round(square.top + square.height - rim)
    left, right = round(square.left + rim), round(square.left + square.width - rim)
    face = grey[top:bottom, left:right]
    box = detected.box
    quality = Quality(
        face_px=min(box.width, box.height),
        sharpness=float(np.std(cv2.Laplacian(face, cv2.CV_32F))),
        brightness=float(np.mean(face)),
        contrast=float(np.std(face)),
        roll_degrees=crop.roll_degrees,
        misfit=crop.misfit,
        detection=detected.face.score,
        issues=(),
    )
    return replace(quality, issues=issues(quality, limits))


def issues(face: Quality, limits: QualityLimits) -> tuple[Issue, ...]:
    """Return the issues of a face by its measures."""
    least_sharp = max(limits.sharpness, limits.sharpness_to_contrast * face.contrast)
    rules = (
        (face.face_px < limits.face_px, "small_face", "Move closer, or send the full-size photo."),
        (face.sharpness < least_sharp, "blurred", "Hold still and focus on the face."),
        (face.brightness < limits.dark, "dark", "Turn towards the light."),
        (face.brightness > limits.bright, "overexposed", "Avoid flash and direct sun on the face."),
        (face.contrast < limits.contrast, "flat", "Use even light without fog, haze or glare."),
        (abs(face.roll_degrees) > limits.roll_degrees, "tilted", "Hold the head upright."),
        (face.misfit > limits.misfit, "turned_away", "Look straight into the camera."),
    )
    return tuple(Issue(code, advice) for applies, code, advice in rules if applies)
