"""The whole job over a real socket: enroll, verify, identify, embed, delete, restart."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.photos import mirrored, photo_bytes, reencoded, turned
from tests.server import RunningServer, running_server

ROWS = "application/octet-stream"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "likeness.db"


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[RunningServer]:
    with running_server(store) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def grace(client: httpx.Client) -> Iterator[str]:
    """Enrol Grace Hopper for one test."""
    response = client.post(
        "/enroll", data={"subject": "grace"}, files={"image": photo_bytes("grace")}
    )
    assert response.status_code == 201, response.text
    yield "grace"
    client.delete("/subjects/grace")


def verify(client: httpx.Client, subject: str, photo: bytes) -> httpx.Response:
    return client.post("/verify", data={"subject": subject}, files={"image": photo})


def bare(
    client: httpx.Client,
    route: str,
    photo: bytes,
    *,
    kind: str = "image/jpeg",
    accept: str = "*/*",
    **fields: str,
) -> httpx.Response:
    """Send a photo as the whole body and the fields as a query."""
    headers = {"content-type": kind, "accept": accept}
    return client.post(route, content=photo, params=fields, headers=headers)


def test_first_lines_say_what_is_served(server: RunningServer) -> None:
    assert server.lines[0].startswith("bundle")
    lines = server.lines
    assert any(line.startswith("fmr_1e-4") and line.endswith(", default") for line in lines)
    assert any(line.startswith("fmr_1e-5") and "extrapolated" in line for line in lines)
    assert any("LIKENESS_OPERATING_POINT" in line for line in lines)


def test_another_photo_of_the_subject_is_verified(client: httpx.Client, grace: str) -> None:
    answer = verify(client, grace, mirrored(reencoded("grace", side=300))).json()
    assert answer["verified"] is True
    assert answer["decision"] == "match"


def test_a_stranger_is_refused_with_the_reason(client: httpx.Client, grace: str) -> None:
    answer = verify(client, grace, photo_bytes("astronaut")).json()
    assert answer["decision"] == "no_match"
    assert f"{answer['similarity']:.3f}" in answer["explanation"]


def test_a_photo_on_its_side_is_verified(client: httpx.Client, grace: str) -> None:
    answer = verify(client, grace, turned("grace", quarters=1)).json()
    assert answer["verified"] is True


def test_the_operating_point_carries_its_error_rates(client: httpx.Client, grace: str) -> None:
    point = verify(client, grace, photo_bytes("grace")).json()["operating_point"]
    assert point["fmr"]["low"] <= point["fmr"]["value"] <= point["fmr"]["high"]


def test_two_photos_are_verified_without_a_subject(client: httpx.Client) -> None:
    files = {"img1": photo_bytes("grace"), "img2": reencoded("grace", side=350)}
    assert client.post("/verify", files=files).json()["verified"] is True


def test_the_same_photo_again_is_not_stored_twice(client: httpx.Client, grace: str) -> None:
    again = client.post("/enroll", data={"subject": grace}, files={"image": photo_bytes("grace")})
    assert again.status_code == 200
    held = client.get(f"/subjects/{grace}").json()["templates"]
    assert [t["template_id"] for t in held] == [again.json()["images"][0]["template_id"]]


def test_a_bad_photo_among_good_ones_harms_no_other(client: httpx.Client) -> None:
    files = [("image", photo_bytes("grace")), ("image", b"not a photo")]
    response = client.post("/enroll", data={"subject": "mixed"}, files=files)
    statuses = [image["status"] for image in response.json()["images"]]
    client.delete("/subjects/mixed")
    assert statuses == ["enrolled", "failed"]


def test_identify_names_the_subject(client: httpx.Client, grace: str) -> None:
    answer = client.post("/identify", files={"image": mirrored(photo_bytes("grace"))}).json()
    assert [candidate["subject"] for candidate in answer["candidates"]] == [grace]


def test_identify_says_unknown_for_a_stranger(client: httpx.Client, grace: str) -> None:
    answer = client.post("/identify", files={"image": photo_bytes("astronaut")}).json()
    assert answer["outcome"] == "unknown"


def test_embedded_vectors_have_unit_length(client: httpx.Client) -> None:
    answer = client.post("/embed", files={"image": photo_bytes("grace")}).json()
    assert np.linalg.norm(answer["images"][0]["vector"]) == pytest.approx(1, abs=1e-5)


def test_features_are_as_wide_as_the_encoder(client: httpx.Client) -> None:
    answer = client.post(
        "/embed", data={"output": "features"}, files={"image": photo_bytes("grace")}
    ).json()
    assert len(answer["images"][0]["vector"]) == answer["dimension"]


def test_a_photo_that_is_the_whole_body_is_verified(client: httpx.Client, grace: str) -> None:
    response = bare(client, "/verify", mirrored(photo_bytes("grace")), subject=grace)
    assert response.json()["verified"] is True


def test_a_photo_that_is_the_whole_body_is_enrolled(client: httpx.Client) -> None:
    response = bare(
        client, "/enroll", photo_bytes("grace"), subject="raw", metadata='{"from": "here"}'
    )
    held = client.get("/subjects/raw").json()
    client.delete("/subjects/raw")
    assert (response.status_code, held["metadata"]) == (201, {"from": "here"})


def test_a_photo_that_is_the_whole_body_is_identified(client: httpx.Client, grace: str) -> None:
    answer = bare(client, "/identify", photo_bytes("grace"), limit="1").json()
    assert [candidate["subject"] for candidate in answer["candidates"]] == [grace]


def test_what_a_body_says_it_is_does_not_matter(client: httpx.Client) -> None:
    # Sent as a PNG; it is a JPEG.
    assert bare(client, "/embed", photo_bytes("grace"), kind="image/png").status_code == 200


@pytest.mark.parametrize("photo", [b"", b"not a photo"])
def test_a_body_that_is_no_photo_gets_the_usual_problem(client: httpx.Client, photo: bytes) -> None:
    response = bare(client, "/embed", photo)
    assert (response.status_code, response.json()["code"]) == (415, "not_an_image")


def test_rows_are_the_numbers_of_the_json(client: httpx.Client) -> None:
    files = [("image", photo_bytes("grace")), ("image", photo_bytes("astronaut"))]
    json, rows = (
        client.post("/embed", files=files, headers={"accept": accept})
        for accept in ("application/json", ROWS)
    )
    shape = [int(rows.headers[f"x-likeness-{name}"]) for name in ("rows", "dimension")]
    vectors = [image["vector"] for image in json.json()["images"]]
    # Two passes of the encoder: batches of different sizes differ in the last digits.
    np.testing.assert_allclose(
        np.frombuffer(rows.content, "<f4").reshape(shape), vectors, atol=0.02
    )


def test_rows_of_features_say_so(client: httpx.Client) -> None:
    response = bare(client, "/embed", photo_bytes("grace"), accept=ROWS, output="features")
    assert response.headers["x-likeness-output"] == "features"


def test_rows_tell_which_photo_failed(client: httpx.Client) -> None:
    files = [("image", b"not a photo"), ("image", photo_bytes("grace"))]
    response = client.post("/embed", files=files, headers={"accept": ROWS})
    assert response.headers["x-likeness-failed"] == "0:not_an_image"


def test_rows_of_nothing_but_failures_are_a_problem(client: httpx.Client) -> None:
    response = bare(client, "/embed", b"not a photo", accept=ROWS)
    assert response.headers["content-type"] == "application/problem+json"


def test_an_answer_that_cannot_be_accepted_is_not_made(client: httpx.Client) -> None:
    response = bare(client, "/embed", photo_bytes("grace"), accept="text/html")
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


def test_an_unknown_subject_is_not_found(client: httpx.Client) -> None:
    response = verify(client, "nobody", photo_bytes("grace"))
    assert (response.status_code, response.json()["code"]) == (404, "subject_not_found")


def test_an_unknown_operating_point_names_those_there_are(client: httpx.Client, grace: str) -> None:
    response = client.post(
        "/verify",
        data={"subject": grace, "operating_point": "fmr_0"},
        files={"image": photo_bytes("grace")},
    )
    assert "fmr_1e-3" in response.json()["detail"]


def test_a_deleted_subject_is_gone_when_delete_answers(client: httpx.Client, grace: str) -> None:
    deleted = client.delete(f"/subjects/{grace}").json()
    after = verify(client, grace, photo_bytes("grace"))
    assert (deleted["subjects"], deleted["templates"], after.status_code) == (1, 1, 404)
    assert deleted["receipt"]["action"] == "subject_deleted"


def test_an_export_holds_the_vector(client: httpx.Client, grace: str) -> None:
    exported = client.get(f"/subjects/{grace}/export").json()["templates"][0]
    assert len(exported["vector"]) == client.get("/model").json()["dimension"]


def test_a_repeated_request_with_its_key_gets_the_first_outcome(client: httpx.Client) -> None:
    answers = [
        client.post(
            "/enroll",
            data={"subject": "keyed"},
            files={"image": photo_bytes("grace")},
            headers={"Idempotency-Key": "k-1"},
        )
        for _ in range(2)
    ]
    client.delete("/subjects/keyed")
    assert answers[0].json() == answers[1].json()


def test_a_policy_can_be_asked_for(client: httpx.Client) -> None:
    response = client.post(
        "/embed", data={"policy": "largest"}, files={"image": photo_bytes("grace")}
    )
    assert response.status_code == 200


def test_the_service_ends_in_order_when_asked(tmp_path: Path) -> None:
    with running_server(tmp_path / "likeness.db") as running:
        assert running.stop() == 0


def test_an_enrolment_outlives_a_restart(tmp_path: Path) -> None:
    store = tmp_path / "likeness.db"
    with running_server(store) as running, running.client() as client:
        client.post("/enroll", data={"subject": "ada"}, files={"image": photo_bytes("astronaut")})
        running.stop()
    with running_server(store) as running, running.client() as client:
        assert verify(client, "ada", photo_bytes("astronaut")).json()["verified"] is True
