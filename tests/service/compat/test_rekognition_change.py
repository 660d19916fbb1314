"""A collection moves to another bundle with the rest of the gallery."""

from pathlib import Path

from models.bundle import load_bundle
from tests.photos import group_photo, photo_bytes
from tests.server import running_server
from tests.service.compat.aws import rekognition_client

EILEEN = {"Bytes": photo_bytes("astronaut")}
CHANGING = {
    "LIKENESS_REKOGNITION": "true",
    "LIKENESS_BUNDLE": "builtin",
    "LIKENESS_NEXT_BUNDLE": "sface",
}


def test_face_indexed_during_a_change_is_found_by_both_bundles(tmp_path: Path) -> None:
    with running_server(tmp_path / "likeness.db", CHANGING) as server, server.client() as client:
        aws = rekognition_client(server.url)
        aws.create_collection(CollectionId="staff")
        photo = {"Bytes": group_photo()}
        indexed = aws.index_faces(CollectionId="staff", Image=photo)["FaceRecords"]
        found = []
        for bundle in ("builtin", "sface"):
            form = {"fingerprint": load_bundle(bundle).fingerprint}
            assert client.post("/change/switch", json=form).status_code == 200
            answer = aws.search_faces_by_image(CollectionId="staff", Image=EILEEN)
            found.append([match["Face"]["FaceId"] for match in answer["FaceMatches"]])
        smaller = indexed[1]["Face"]["FaceId"]
        assert found == [[smaller], [smaller]]
