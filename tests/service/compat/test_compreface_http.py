"""CompreFace's API on the wire: requests that its client cannot send, and errors."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.photos import mirrored, photo_bytes, reencoded
from tests.server import RunningServer
from tests.service.compat.sdk import Sdk

GRACE, EILEEN = photo_bytes("grace"), photo_bytes("astronaut")
FACES, SUBJECTS = "/api/v1/recognition/faces", "/api/v1/recognition/subjects"
RECOGNIZE, VERIFY = "/api/v1/recognition/recognize", "/api/v1/verification/verify"
VECTORS = "/api/v1/recognition/embeddings"
DETECT = "/api/v1/detection/detect"
PHOTO: dict[str, Any] = {"files": {"file": GRACE}}


@pytest.fixture
def client(server: RunningServer, sdk: Sdk) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def add(client: httpx.Client, subject: str, photo: bytes) -> str:
    """Enrol; return the id."""
    response = client.post(FACES, params={"subject": subject}, files={"file": photo})
    assert response.status_code == 201, response.text
    return str(response.json()["image_id"])


def base64(photo: bytes) -> str:
    return b64encode(photo).decode()


def vector_of(client: httpx.Client, photo: bytes) -> list[float]:
    params = {"face_plugins": "calculator"}
    face = client.post(DETECT, params=params, files={"file": photo}).json()["result"][0]
    return list(face["embedding"])


def refused(response: httpx.Response) -> tuple[int, int]:
    """Return status and code; every refusal has these two fields and no other."""
    body = response.json()
    assert response.headers["content-type"] == "application/json"
    assert set(body) == {"message", "code"}
    assert body["message"]
    return response.status_code, body["code"]


def test_photos_come_as_base64_too(client: httpx.Client) -> None:
    added = client.post(FACES, params={"subject": "grace"}, json={"file": base64(GRACE)})
    assert added.status_code == 201
    (face,) = client.post(RECOGNIZE, json={"file": base64(GRACE)}).json()["result"]
    assert face["subjects"][0]["subject"] == "grace"
    two = {"source_image": base64(GRACE), "target_image": base64(GRACE)}
    (answer,) = client.post(VERIFY, json=two).json()["result"]
    assert answer["face_matches"][0]["similarity"] > 0.98


def test_what_goes_with_a_photo_comes_in_the_form_too(client: httpx.Client, group: bytes) -> None:
    for subject, photo in (("Grace Hopper", GRACE), ("Eileen", EILEEN)):
        added = client.post(FACES, data={"subject": subject}, files={"file": photo})
        assert (added.status_code, added.json()["subject"]) == (201, subject)
    options = {"limit": "1", "prediction_count": "2", "status": "true", "face_plugins": ""}
    for place in ("data", "params"):
        asked: dict[str, Any] = {place: options}
        answer = client.post(RECOGNIZE, files={"file": group}, **asked).json()
        (face,) = answer["result"]
        assert (len(face["subjects"]), "plugins_versions" in answer) == (2, True)
    both = client.post(DETECT, params={"limit": "1"}, data={"limit": "2"}, files={"file": group})
    assert len(both.json()["result"]) == 1
    for form, code in (({}, 33), ({"subject": ""}, 33), ({"subject": "a/b"}, 26)):
        assert refused(client.post(FACES, data=form, files={"file": GRACE})) == (400, code)
    assert refused(client.post(DETECT, data={"limit": "-1"}, files={"file": GRACE})) == (400, 26)


def test_pages_of_examples_are_cut_where_asked(client: httpx.Client) -> None:
    ids = [add(client, "grace", GRACE), add(client, "eileen", EILEEN)]
    ids.append(add(client, "grace", mirrored(GRACE)))
    for number in (0, 1, 2, 3):
        page = client.get(FACES, params={"page": number, "size": 1}).json()
        assert [face["image_id"] for face in page["faces"]] == ids[number : number + 1]
        assert (page["total_pages"], page["total_elements"]) == (3, 3)


def test_examples_of_one_subject_are_listed_alone(client: httpx.Client) -> None:
    add(client, "eileen", EILEEN)
    ids = [add(client, "grace", GRACE), add(client, "grace", mirrored(GRACE))]
    page = client.get(FACES, params={"subject": "grace", "page": 1, "size": 1}).json()
    assert page["faces"] == [{"image_id": ids[1], "subject": "grace"}]
    assert client.get(FACES, params={"subject": "nobody"}).json()["total_elements"] == 0


def test_list_of_examples_is_deleted_but_for_ids_of_none(client: httpx.Client) -> None:
    ids = [add(client, "grace", GRACE), add(client, "eileen", EILEEN)]
    deleted = client.post(f"{FACES}/delete", json=[ids[0], "of-nobody"]).json()
    assert deleted == [{"image_id": ids[0], "subject": "grace"}]
    assert [face["image_id"] for face in client.get(FACES).json()["faces"]] == ids[1:]


def test_what_was_enrolled_otherwise_is_an_example_too(client: httpx.Client) -> None:
    form = {"subject": "grace", "template_id": "passport-2026"}
    assert client.post("/enroll", data=form, files={"image": GRACE}).status_code == 201
    assert client.get(FACES).json()["faces"] == [{"image_id": "passport-2026", "subject": "grace"}]
    (face,) = client.post(f"{FACES}/passport-2026/verify", files={"file": GRACE}).json()["result"]
    assert face["subject"] == "grace"


def test_photo_is_given_back(client: httpx.Client) -> None:
    image_id = add(client, "grace", GRACE)
    assert client.get(f"{FACES}/{image_id}/img").content == GRACE


def test_subjects_are_listed_with_a_slash_at_the_end_too(client: httpx.Client) -> None:
    assert client.get(f"{SUBJECTS}/").json() == {"subjects": []}


def test_vectors_are_recognized(client: httpx.Client) -> None:
    add(client, "grace", GRACE)
    add(client, "eileen", EILEEN)
    vector = vector_of(client, mirrored(reencoded("grace", side=300)))
    longer = [10 * number for number in vector]
    params = {"prediction_count": 2}
    answer = client.post(
        f"{VECTORS}/recognize", params=params, json={"embeddings": [vector, longer]}
    ).json()
    for each in answer["result"]:
        assert [near["subject"] for near in each["similarities"]] == ["grace", "eileen"]
        assert each["similarities"][0]["similarity"] > 0.98


def test_vectors_are_verified_the_most_alike_first(client: httpx.Client) -> None:
    image_id = add(client, "grace", GRACE)
    vectors = [vector_of(client, EILEEN), vector_of(client, GRACE)]
    by_id = client.post(f"{VECTORS}/faces/{image_id}/verify", json={"embeddings": vectors}).json()
    by_vector = client.post(
        "/api/v1/verification/embeddings/verify", json={"source": vectors[1], "targets": vectors}
    ).json()
    for answer in (by_id, by_vector):
        found = np.array([each["embedding"] for each in answer["result"]])
        np.testing.assert_allclose(found, vectors[::-1], atol=1e-6)
        assert answer["result"][0]["similarity"] > 0.98


@pytest.mark.parametrize("vector", [[], [0.0] * 128, [1.0], [1e999] * 128, [float("nan")] * 128])
def test_what_is_no_vector_is_refused(client: httpx.Client, vector: list[float]) -> None:
    body = f'{{"embeddings": [{vector}]}}'.replace("inf", "1e999").replace("nan", "NaN")
    json = {"content-type": "application/json"}
    response = client.post(f"{VECTORS}/recognize", content=body, headers=json)
    assert refused(response) == (400, 26)


@pytest.mark.parametrize(
    ("method", "path", "options", "expected"),
    [
        ("POST", RECOGNIZE, {"json": {}}, (400, 34)),
        ("POST", VERIFY, {"files": {"source_image": GRACE}}, (400, 34)),
        ("POST", RECOGNIZE, {"json": {"file": "http://example.com/a.jpg"}}, (400, 26)),
        ("POST", RECOGNIZE, {"content": GRACE}, (400, 21)),
        ("POST", RECOGNIZE, {"params": {"limit": -1}, "files": {"file": GRACE}}, (400, 26)),
        ("POST", RECOGNIZE, {"params": {"detect_faces": "false"}, **PHOTO}, (400, 26)),
        ("POST", RECOGNIZE, {"params": {"prediction_count": 0}, **PHOTO}, (400, 26)),
        ("POST", DETECT, {"params": {"det_prob_threshold": "nan"}, **PHOTO}, (400, 26)),
        ("POST", FACES, {"files": {"file": GRACE}}, (400, 33)),
        ("POST", FACES, {"params": {"subject": "a/b"}, "files": {"file": GRACE}}, (400, 26)),
        ("DELETE", FACES, {}, (400, 33)),
        ("POST", SUBJECTS, {"json": {}}, (400, 33)),
        ("POST", SUBJECTS, {"content": b'{"subject": "a"}'}, (400, 21)),
        ("POST", f"{FACES}/delete", {"json": {"ids": []}}, (400, 26)),
        ("GET", FACES, {"params": {"size": 0}}, (400, 26)),
        ("GET", f"{FACES}/nobody/img", {}, (404, 44)),
        ("PUT", f"{SUBJECTS}/nobody", {"json": {"subject": "lovelace"}}, (404, 42)),
        ("PUT", f"{SUBJECTS}/nobody", {"json": {"subject": "a/b"}}, (400, 26)),
        ("PATCH", FACES, {}, (405, 0)),
        # An empty name does not mean all names.
        ("DELETE", f"{SUBJECTS}/", {}, (405, 0)),
        ("GET", "/api/v1/nothing", {}, (404, 0)),
        # Keys in paths are in logs.
        ("GET", "/api/v1/static/key/images/id", {}, (404, 0)),
    ],
)
def test_every_refusal_is_in_compreface_s_words(
    client: httpx.Client,
    method: str,
    path: str,
    options: dict[str, Any],
    expected: tuple[int, int],
) -> None:
    assert refused(client.request(method, path, **options)) == expected


def test_advice_is_part_of_the_message(client: httpx.Client) -> None:
    message = client.post(RECOGNIZE, files={"file": b"no image"}).json()["message"]
    assert "Send a JPEG" in message


def test_paths_of_ours_keep_their_problems(client: httpx.Client) -> None:
    response = client.post("/verify", files={"image": GRACE})
    assert response.headers["content-type"] == "application/problem+json"


def test_requests_are_counted_by_route(client: httpx.Client) -> None:
    client.get(f"{FACES}/nobody/img")
    assert 'route="/api/v1/recognition/faces/{image_id}/img"' in client.get("/metrics").text
