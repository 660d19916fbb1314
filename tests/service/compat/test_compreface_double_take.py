"""What Double Take sends to CompreFace, and how it reads the answers."""

from typing import Any

import httpx

from tests.images import encode, picture
from tests.photos import photo_bytes
from tests.server import RunningServer
from tests.service.compat.sdk import ANY_KEY, Sdk

KEY = {"x-api-key": ANY_KEY}
# Of its settings: `match.confidence` and `unknown.confidence`, percent.
MATCH, UNKNOWN = 98, 50


def recognize(client: httpx.Client, photo: bytes) -> list[dict[str, Any]]:
    """Ask as its recogniser does, and read the answer as that does."""
    answer = client.post(
        "/api/v1/recognition/recognize",
        # With no plugins set, it sends this name.
        params={"face_plugins": "undefined", "det_prob_threshold": 0.8},
        files={"file": ("latest.jpg", photo, "image/jpeg")},
        headers=KEY,
    ).json()
    return [] if answer.get("code") == 28 else [_named(face) for face in answer["result"]]


def _named(face: dict[str, Any]) -> dict[str, Any]:
    nearest = face["subjects"][0] if face["subjects"] else None
    confidence = round(nearest["similarity"] * 100, 2) if nearest else 0
    box = face["box"]
    return {
        "name": nearest["subject"] if nearest and confidence >= UNKNOWN else "unknown",
        "match": confidence >= MATCH,
        "area": (box["x_max"] - box["x_min"]) * (box["y_max"] - box["y_min"]),
    }


def test_training_and_recognizing_name_the_person_in_front_of_the_camera(
    server: RunningServer, sdk: Sdk, group: bytes
) -> None:
    with server.client() as client:
        trained = client.post(
            "/api/v1/recognition/faces",
            params={"subject": "grace"},
            files={"file": ("grace.jpg", photo_bytes("grace"), "image/jpeg")},
            headers=KEY,
        )
        assert trained.status_code == 201
        front, behind = recognize(client, group)
        assert (front["name"], front["match"]) == ("grace", True)
        assert (behind["name"], behind["match"]) == ("unknown", False)
        assert front["area"] > behind["area"] > 0


def test_removing_the_only_name_leaves_no_subject(server: RunningServer, sdk: Sdk) -> None:
    sdk.faces.add(photo_bytes("grace"), "grace")
    with server.client() as client:
        removed = client.delete(
            "/api/v1/recognition/faces", params={"subject": "grace"}, headers=KEY
        )
        assert removed.json() == {"deleted": 1}
        assert recognize(client, photo_bytes("grace"))[0]["name"] == "unknown"


def test_frame_without_a_face_is_no_error(server: RunningServer) -> None:
    with server.client() as client:
        assert recognize(client, encode(picture(), "JPEG")) == []
