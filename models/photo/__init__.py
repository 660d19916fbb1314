"""From the bytes of a photo to an aligned crop, and to how good the photo is.

`image` decodes the bytes (with `integrity`, `depth` and `tiff` for damaged and unusual files),
`detectors` and `face` find the face and cut it out, `crop` does both in one call. `quality`
measures the photo, `quality_head` judges it by the features of the encoder.
"""

from typing import Literal

DetectorName = Literal["dlib", "yunet", "none"]
"""Name a face detector; `none` takes the whole photo for the face."""

FacePolicy = Literal["single", "largest"]
"""Say what to do with several faces: refuse the photo, or take the largest face."""
