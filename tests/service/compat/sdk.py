"""CompreFace's own client, as it is published: `compreface-sdk`."""

import sys
from types import ModuleType
from typing import Any

import httpx

# It pins requests-toolbelt 0.9.1, which at its import looks for a module that urllib3 2 has no
# longer, and which only adapters for App Engine use.
sys.modules.setdefault("urllib3.contrib.appengine", ModuleType("urllib3.contrib.appengine"))

from compreface import CompreFace  # noqa: E402
from compreface.collections import FaceCollection, Subjects  # noqa: E402
from compreface.service import (  # noqa: E402
    DetectionService,
    RecognitionService,
    VerificationService,
)

# Such as CompreFace's console hands out.
ANY_KEY = "5b2f3c1e-8d4a-4f6b-9a77-1c0f2d3e4b5a"


class Sdk:
    """Hold the services of one client, set up as its README says."""

    def __init__(self, url: str, key: str = ANY_KEY, options: dict[str, Any] | None = None) -> None:
        at = httpx.URL(url)
        client = CompreFace(f"{at.scheme}://{at.host}", str(at.port), options or {})
        self.recognition: RecognitionService = client.init_face_recognition(key)
        self.verification: VerificationService = client.init_face_verification(key)
        self.detection: DetectionService = client.init_face_detection(key)
        self.faces: FaceCollection = self.recognition.get_face_collection()
        self.subjects: Subjects = self.recognition.get_subjects()
