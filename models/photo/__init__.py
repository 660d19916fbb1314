"""From the bytes of a photo to an aligned crop, and how good the photo is."""

from typing import Literal

DetectorName = Literal["dlib", "yunet", "none"]
"""Name a face detector; `none` takes the whole photo for the face."""

Policy = Literal["single", "largest"]
"""Say what to do with several faces: refuse the photo, or take the largest face."""
