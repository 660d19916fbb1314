"""Enrolment keeps the gallery clean: poor photos, strangers' photos, and people enrolled twice."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import ImageFilter

from service.settings import Settings
from tests.checkpoints import write_bundle
from tests.in_process import opened
from tests.photos import jpeg, mirrored, open_photo, photo_bytes, reencoded
from tests.server import RunningServer, running_server

GRACE, STRANGER = photo_bytes("grace"), photo_bytes("astronaut")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("data") / "likeness.db") as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
        for item in client.get("/subjects").json()["items"]:
            client.delete(f"/subjects/{item['subject']}")


def poor() -> bytes:
    return jpeg(open_photo("grace").filter(ImageFilter.GaussianBlur(10)))


def enroll(
    client: httpx.Client,
    *photos: bytes,
    subject: str = "grace",
    headers: dict[str, str] | None = None,
    **fields: str,
) -> httpx.Response:
    return client.post(
        "/enroll",
        data={"subject": subject, **fields},
        files=[("image", photo) for photo in photos],
        headers=headers,
    )


def warnings(response: httpx.Response) -> list[str]:
    (image,) = response.json()["images"]
    return [warning["code"] for warning in image["warnings"]]


def test_photo_of_a_stranger_is_refused_under_a_subject(client: httpx.Client) -> None:
    enroll(client, GRACE)
    refused = enroll(client, STRANGER)
    assert (refused.status_code, refused.json()["code"]) == (422, "inconsistent")
    assert len(client.get("/subjects/grace").json()["templates"]) == 1


def test_photo_of_the_subject_is_taken_without_warning(client: httpx.Client) -> None:
    enroll(client, GRACE)
    assert warnings(enroll(client, mirrored(reencoded("grace", side=400)))) == []


def test_photo_of_a_stranger_can_be_accepted(client: httpx.Client) -> None:
    enroll(client, GRACE)
    accepted = enroll(client, STRANGER, accept_inconsistent="true")
    assert (accepted.status_code, warnings(accepted)) == (201, ["inconsistent"])


def test_photos_of_one_request_must_agree(client: httpx.Client) -> None:
    images = enroll(client, GRACE, STRANGER, mirrored(GRACE)).json()["images"]
    assert [image["status"] for image in images] == ["enrolled", "failed", "enrolled"]
    assert images[1]["problem"]["code"] == "inconsistent"


def test_poor_photo_is_refused_and_nobody_is_enrolled(client: httpx.Client) -> None:
    refused = enroll(client, poor())
    assert (refused.status_code, refused.json()["code"]) == (422, "low_quality")
    assert "blurred" in refused.json()["detail"]
    assert refused.json()["advice"] == "Hold still and focus on the face."
    assert client.get("/subjects/grace").status_code == 404


def test_poor_photo_can_be_accepted_and_is_known_from_then_on(client: httpx.Client) -> None:
    photo = poor()
    accepted = enroll(client, photo, accept_quality="true")
    assert (accepted.status_code, warnings(accepted)) == (201, ["low_quality"])
    again = enroll(client, photo)
    assert (again.status_code, again.json()["images"][0]["status"]) == (200, "already_enrolled")


def test_verifying_by_a_poor_photo_is_never_refused(client: httpx.Client) -> None:
    enroll(client, GRACE)
    verified = client.post("/verify", data={"subject": "grace"}, files={"image": poor()})
    issues = verified.json()["faces"][0]["quality"]["issues"]
    assert (verified.status_code, [issue["code"] for issue in issues]) == (200, ["blurred"])


def test_face_of_another_subject_is_enrolled_with_a_warning(client: httpx.Client) -> None:
    enroll(client, GRACE, subject="grace")
    second = enroll(client, mirrored(GRACE), subject="hopper")
    assert (second.status_code, warnings(second)) == (201, ["possible_duplicate"])
    (image,) = second.json()["images"]
    assert [near["subject"] for near in image["possible_duplicates"]] == ["grace"]
    check = second.json()["duplicate_check"]
    assert check["gallery"] == 2
    assert check["fpir_bound"] <= 0.01


def test_subject_is_no_duplicate_of_itself(client: httpx.Client) -> None:
    enroll(client, GRACE)
    assert warnings(enroll(client, mirrored(GRACE))) == []


def test_repeated_request_gets_the_same_outcome_refusals_included(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "twice"}
    first, second = (enroll(client, GRACE, STRANGER, headers=headers) for _ in range(2))
    assert (first.status_code, first.json()) == (second.status_code, second.json())


def test_request_repeated_after_an_erasure_is_judged_anew(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "erased"}
    enroll(client, GRACE, STRANGER, headers=headers)
    client.delete("/subjects/grace")
    enroll(client, STRANGER)
    repeated = enroll(client, GRACE, STRANGER, headers=headers)
    assert [image["status"] for image in repeated.json()["images"]] == [
        "failed",
        "already_enrolled",
    ]


def test_repeated_request_to_a_changed_gallery_is_a_conflict(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "changed"}
    enroll(client, GRACE, STRANGER, headers=headers)
    enroll(client, STRANGER, accept_inconsistent="true")
    repeated = enroll(client, GRACE, STRANGER, headers=headers)
    assert (repeated.status_code, repeated.json()["code"]) == (422, "idempotency_conflict")


def test_refusals_and_warnings_are_counted_by_reason(client: httpx.Client) -> None:
    def counted(name: str, reason: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        start = f'likeness_enrolment_{name}_total{{reason="{reason}"}} '
        return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))

    refused, warned = counted("refusals", "inconsistent"), counted("warnings", "inconsistent")
    enroll(client, GRACE, STRANGER)
    enroll(client, GRACE, STRANGER, accept_inconsistent="true")
    assert counted("refusals", "inconsistent") == refused + 1
    assert counted("warnings", "inconsistent") == warned + 1


def test_names_of_others_are_told_to_keys_that_may_identify_or_administer(tmp_path: Path) -> None:
    with running_server(tmp_path / "likeness.db") as running, running.client() as client:
        keys = [client.post("/keys", json={"name": "first", "scopes": ["admin", "enroll"]}).json()]
        admin = {"x-api-key": keys[0]["key"]}
        for scopes in (["enroll"], ["enroll", "verify"]):
            form = {"name": "other", "scopes": scopes}
            keys.append(client.post("/keys", json=form, headers=admin).json())
        enroll(client, GRACE, subject="one", headers=admin)
        told = []
        for key in keys:
            headers = {"x-api-key": key["key"]}
            (image,) = enroll(client, GRACE, subject="two", headers=headers).json()["images"]
            codes = [warning["code"] for warning in image["warnings"]]
            told.append((codes, [near["subject"] for near in image["possible_duplicates"]]))
    assert told == [
        (["possible_duplicate"], ["one"]),
        (["possible_duplicate"], []),
        (["possible_duplicate"], ["one"]),
    ]


async def test_search_and_gate_can_be_switched_off(tmp_path: Path) -> None:
    settings = Settings(store="sqlite:///:memory:", enroll_quality="off", enroll_search=False)
    async with opened(settings) as client:
        for subject in ("one", "two"):
            answer = await client.post(
                "/enroll", data={"subject": subject}, files={"image": poor()}
            )
            assert answer.json()["images"][0]["warnings"] == []
    assert answer.json()["duplicate_check"] is None


async def test_bundle_without_operating_points_checks_no_likeness(tmp_path: Path) -> None:
    settings = Settings(store="sqlite:///:memory:", bundle=str(write_bundle(tmp_path / "tiny")))
    async with opened(settings) as client:
        files = [("image", GRACE), ("image", STRANGER)]
        answer = await client.post("/enroll", data={"subject": "both"}, files=files)
    assert [image["status"] for image in answer.json()["images"]] == ["enrolled", "enrolled"]
    assert answer.json()["duplicate_check"] is None
