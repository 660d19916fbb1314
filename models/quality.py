"""Measurable capture quality of a face, with reasons and advice for the next photo.

These are plain signal measures in the spirit of ISO/IEC 29794-5, not a learned score: each
says what is wrong and what to do about it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from models.face import Crop, Found

_MEASURED_AT = 112


@dataclass(frozen=True, slots=True)
class Issue:
    """Name one weakness of a capture and what to do about it."""

    code: str
    advice: str


@dataclass(frozen=True, slots=True)
class Quality:
    """Hold measures of one face.

    `face_px` is the shorter side of its box in the image; `sharpness` the standard deviation
    of the Laplacian, `brightness` the mean and `contrast` the standard deviation of the
    crop's grey values, all in grey values of 0 to 255; `roll_degrees` the tilt of the head;
    `misfit` how far the landmarks lie from a frontal face's, in units of the face's side;
    `detection` the detector's score.
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
class Limits:
    """Hold where a measure becomes an issue."""

    face_px: float = 64
    sharpness: float = 6
    dark: float = 40
    bright: float = 225
    contrast: float = 18
    roll_degrees: float = 30
    misfit: float = 0.12


def measure(found: Found, crop: Crop, limits: Limits | None = None) -> Quality:
    """Measure the chosen face and list what would make the next photo better."""
    limits = limits or Limits()
    size = (_MEASURED_AT, _MEASURED_AT)
    grey = cv2.cvtColor(
        cv2.resize(crop.pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    # The middle of the crop is face; its rim is hair, background or black border.
    face = grey[_MEASURED_AT // 5 : -_MEASURED_AT // 5, _MEASURED_AT // 5 : -_MEASURED_AT // 5]
    box = found.box
    measured = {
        "face_px": min(box.width, box.height),
        "sharpness": float(np.std(cv2.Laplacian(face, cv2.CV_32F))),
        "brightness": float(np.mean(face)),
        "contrast": float(np.std(face)),
        "roll_degrees": crop.roll_degrees,
        "misfit": crop.misfit,
    }
    return Quality(
        **measured, detection=found.face.score, issues=tuple(_issues(limits, **measured))
    )


def _issues(
    limits: Limits,
    *,
    face_px: float,
    sharpness: float,
    brightness: float,
    contrast: float,
    roll_degrees: float,
    misfit: float,
) -> list[Issue]:
    rules = (
        (face_px < limits.face_px, "small_face", "Move closer, or send the full-size photo."),
        (sharpness < limits.sharpness, "blurred", "Hold still and focus on the face."),
        (brightness < limits.dark, "dark", "Turn towards the light."),
        (brightness > limits.bright, "overexposed", "Avoid flash and direct sun on the face."),
        (contrast < limits.contrast, "flat", "Use even light without fog, haze or glare."),
        (abs(roll_degrees) > limits.roll_degrees, "tilted", "Hold the head upright."),
        (misfit > limits.misfit, "turned_away", "Look straight into the camera."),
    )
    return [Issue(code, advice) for applies, code, advice in rules if applies]
