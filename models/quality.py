"""Measurable capture quality of a face, with reasons and advice for the next photo.

These are plain signal measures in the spirit of ISO/IEC 29794-5, not a learned score: each
says what is wrong and what to do about it.
"""

from dataclasses import dataclass, replace

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
    """Hold where a measure becomes an issue.

    `sharpness_to_contrast` tells blur from dim light, which lowers both alike.
    """

    face_px: float = 64
    sharpness: float = 6
    sharpness_to_contrast: float = 0.14
    dark: float = 40
    bright: float = 225
    contrast: float = 18
    roll_degrees: float = 30
    misfit: float = 0.1


# Where a photo makes a bad template: at the default bundle's FMR 1e-3 its person's comparisons
# fail two to eleven times as often as others. `python -m tests.bench.quality DIR --worse` on LFW's
# View 1: 0.5 % of its 1,548 photos are beyond, blurred or turned away, and fail in 67 % of their
# comparisons (6 of them), the rest in 6 %; of 1,884 tighter web photos 0.3 %, in 58 % of 125, the
# rest in 9 %. None is too dark, bright or flat; of those made so, and of those made blurred, what
# is refused fails in 14 to 71 %. Small and tilted faces fail hardly more often than others, 7 to
# 9 % when made so, and get advice alone. YuNet's landmarks stray further than dlib's: 1.5 %.
HARMFUL = Limits(face_px=0, sharpness=0, dark=16, contrast=4, roll_degrees=180)


def measure(found: Found, crop: Crop, limits: Limits | None = None) -> Quality:
    """Measure the chosen face and list what would make the next photo better."""
    limits = limits or Limits()
    # A smaller crop is not enlarged: that would blur it.
    side = min(_MEASURED_AT, len(crop.pixels))
    grey = cv2.cvtColor(
        cv2.resize(crop.pixels, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    # The middle of the crop is face; its rim is hair, background or black border.
    face = grey[side // 5 : -side // 5, side // 5 : -side // 5]
    box = found.box
    quality = Quality(
        face_px=min(box.width, box.height),
        sharpness=float(np.std(cv2.Laplacian(face, cv2.CV_32F))),
        brightness=float(np.mean(face)),
        contrast=float(np.std(face)),
        roll_degrees=crop.roll_degrees,
        misfit=crop.misfit,
        detection=found.face.score,
        issues=(),
    )
    return replace(quality, issues=issues(quality, limits))


def issues(face: Quality, limits: Limits) -> tuple[Issue, ...]:
    """List what is wrong with a face by its measures."""
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
