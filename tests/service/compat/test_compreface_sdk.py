"""Every call of CompreFace's published client, unchanged, against a real server."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.images import encode, picture
from tests.photos import mirrored, photo_bytes, reencoded
from tests.server import RunningServer
from tests.service.compat.sdk import Sdk

GRACE, EILEEN = photo_bytes("grace"), photo_bytes("astronaut")
GRACE_AGAIN = mirrored(reencoded("grace", side=300))
# With either built-in bundle, above what one comparison of strangers in a thousand reaches, and
# below what two photos of strangers are as likely to have as two of one person.
ALIKE, UNLIKE = 0.98, 0.5


@pytest.fixture
def grace(sdk: Sdk) -> str:
    """Enrol Grace Hopper for one test; return the id of her photo."""
    added: dict[str, str] = sdk.faces.add(GRACE, "grace")
    return added["image_id"]


def best(answer: dict[str, Any]) -> list[str]:
    """Return whom each face resembles most."""
    return [face["subjects"][0]["subject"] for face in answer["result"]]


def test_added_example_has_a_uuid_and_its_subject(sdk: Sdk) -> None:
    added = sdk.faces.add(GRACE, "grace hopper", {"det_prob_threshold": 0.8})
    assert added == {"image_id": str(UUID(added["image_id"])), "subject": "grace hopper"}


def test_same_photo_again_keeps_its_id(sdk: Sdk, grace: str) -> None:
    assert sdk.faces.add(GRACE, "grace")["image_id"] == grace


def test_another_photo_of_a_subject_is_recognized(sdk: Sdk, grace: str) -> None:
    (face,) = sdk.recognition.recognize(GRACE_AGAIN)["result"]
    assert [each["subject"] for each in face["subjects"]] == ["grace"]
    assert face["subjects"][0]["similarity"] > ALIKE


def test_stranger_is_given_the_nearest_subject_and_how_unlike_it_is(sdk: Sdk, grace: str) -> None:
    (face,) = sdk.recognition.recognize(EILEEN)["result"]
    assert face["subjects"][0]["subject"] == "grace"
    assert face["subjects"][0]["similarity"] < UNLIKE


def test_no_subject_is_predicted_from_an_empty_collection(sdk: Sdk) -> None:
    (face,) = sdk.recognition.recognize(GRACE)["result"]
    assert face["subjects"] == []


def test_every_face_of_a_photo_is_recognized_the_largest_first(
    sdk: Sdk, grace: str, group: bytes
) -> None:
    sdk.faces.add(EILEEN, "eileen")
    assert best(sdk.recognition.recognize(group)) == ["grace", "eileen"]
    assert best(sdk.recognition.recognize(group, {"limit": 1})) == ["grace"]


def test_as_many_subjects_are_predicted_as_asked_for(sdk: Sdk, grace: str) -> None:
    sdk.faces.add(EILEEN, "eileen")
    (face,) = sdk.recognition.recognize(GRACE_AGAIN, {"prediction_count": 5})["result"]
    assert [each["subject"] for each in face["subjects"]] == ["grace", "eileen"]


def test_options_of_the_client_hold_for_its_calls(server: RunningServer, sdk: Sdk) -> None:
    options = {"limit": 1, "det_prob_threshold": 0.8, "status": True, "face_plugins": "age,mask"}
    other = Sdk(server.url, options=options)
    (face,) = other.detection.detect(GRACE)["result"]
    assert set(face) == {"box", "execution_time"}


def test_status_adds_times_and_versions(sdk: Sdk, grace: str) -> None:
    answer = sdk.recognition.recognize(GRACE, {"status": True})
    assert set(answer["plugins_versions"]) == {"detector", "calculator"}
    assert set(answer["result"][0]["execution_time"]) == {"detector", "calculator"}
    assert set(sdk.recognition.recognize(GRACE)) == {"result"}


def test_calculator_adds_the_vector(sdk: Sdk) -> None:
    (face,) = sdk.detection.detect(GRACE, {"face_plugins": "age, calculator"})["result"]
    assert sum(number**2 for number in face["embedding"]) == pytest.approx(1, abs=1e-3)


def test_detected_face_has_a_box_inside_the_image_and_a_probability(sdk: Sdk) -> None:
    (face,) = sdk.detection.detect(GRACE)["result"]
    box = face["box"]
    assert 0 <= box["x_min"] < box["x_max"] <= 512
    assert 0 <= box["y_min"] < box["y_max"] <= 600
    assert 0.8 < box["probability"] <= 1


def test_all_faces_are_detected(sdk: Sdk, group: bytes) -> None:
    boxes = [face["box"] for face in sdk.detection.detect(group)["result"]]
    assert [box["x_min"] < 512 for box in boxes] == [True, False]


def test_face_of_less_than_the_wanted_probability_is_none(sdk: Sdk) -> None:
    answer = sdk.detection.detect(GRACE, {"det_prob_threshold": 1.0})
    assert answer["code"] == 28


def test_two_photos_of_one_person_are_alike(sdk: Sdk) -> None:
    (answer,) = sdk.verification.verify(GRACE, GRACE_AGAIN)["result"]
    assert answer["face_matches"][0]["similarity"] > ALIKE
    assert answer["source_image_face"]["box"]["probability"] > 0.8


def test_every_face_of_the_target_is_compared(sdk: Sdk, group: bytes) -> None:
    options = {"status": True, "face_plugins": "calculator"}
    (answer,) = sdk.verification.verify(EILEEN, group, options)["result"]
    front, behind = answer["face_matches"]
    assert front["similarity"] < UNLIKE < ALIKE < behind["similarity"]
    assert {"embedding", "execution_time"} < set(answer["source_image_face"])
    assert "plugins_versions" in answer


def test_several_faces_in_the_source_are_refused_unless_one_is_wanted(
    sdk: Sdk, group: bytes
) -> None:
    assert sdk.verification.verify(group, GRACE)["code"] == 31
    (answer,) = sdk.verification.verify(group, GRACE_AGAIN, {"limit": 1})["result"]
    assert answer["face_matches"][0]["similarity"] > ALIKE


def test_example_is_verified_by_its_id(sdk: Sdk, grace: str, group: bytes) -> None:
    front, behind = sdk.faces.verify(group, grace)["result"]
    assert (front["subject"], front["similarity"] > ALIKE) == ("grace", True)
    assert behind["similarity"] < UNLIKE


def test_examples_are_listed_with_their_subjects(sdk: Sdk, grace: str) -> None:
    eileen = sdk.faces.add(EILEEN, "eileen")
    assert sdk.faces.list() == {
        "faces": [{"image_id": grace, "subject": "grace"}, eileen],
        "page_number": 0,
        "page_size": 20,
        "total_pages": 1,
        "total_elements": 2,
    }


def test_deleted_example_is_gone(sdk: Sdk, grace: str) -> None:
    assert sdk.faces.delete(grace) == {"image_id": grace, "subject": "grace"}
    assert sdk.faces.list()["faces"] == []
    assert sdk.faces.delete(grace)["code"] == 44
    assert sdk.faces.verify(GRACE, grace)["code"] == 44


def test_all_examples_of_a_subject_are_deleted_and_counted(sdk: Sdk, grace: str) -> None:
    sdk.faces.add(GRACE_AGAIN, "grace")
    sdk.faces.add(EILEEN, "eileen")
    assert sdk.faces.delete_all("grace") == {"deleted": 2}
    assert sdk.faces.delete_all("grace") == {"deleted": 0}
    assert sdk.subjects.list() == {"subjects": ["eileen"]}


def test_deleting_the_examples_of_an_unknown_subject_deletes_nothing(sdk: Sdk, grace: str) -> None:
    assert sdk.faces.delete_all("")["code"] == 33
    assert sdk.subjects.list() == {"subjects": ["grace"]}


def test_subject_is_there_with_its_first_example(sdk: Sdk) -> None:
    assert sdk.subjects.add("grace") == {"subject": "grace"}
    assert sdk.subjects.list() == {"subjects": []}
    sdk.faces.add(GRACE, "grace")
    assert sdk.subjects.list() == {"subjects": ["grace"]}
    assert sdk.subjects.add("grace")["code"] == 43


def test_deleted_subject_is_gone(sdk: Sdk, grace: str) -> None:
    assert sdk.subjects.delete("grace") == {"subject": "grace"}
    assert sdk.subjects.delete("grace")["code"] == 42


def test_all_subjects_are_deleted_and_counted(sdk: Sdk, grace: str) -> None:
    sdk.faces.add(EILEEN, "eileen")
    assert sdk.subjects.delete_all() == {"deleted": 2}
    assert sdk.subjects.list() == {"subjects": []}


def test_renamed_subject_is_recognised_by_its_new_name(sdk: Sdk, grace: str) -> None:
    assert sdk.subjects.update("grace", "hopper") == {"updated": True}
    assert sdk.subjects.list() == {"subjects": ["hopper"]}
    assert best(sdk.recognition.recognize(GRACE_AGAIN)) == ["hopper"]
    assert sdk.faces.list()["faces"] == [{"image_id": grace, "subject": "hopper"}]
    assert sdk.subjects.update("grace", "hopper")["code"] == 42


def test_two_subjects_do_not_become_one(sdk: Sdk, grace: str) -> None:
    sdk.faces.add(EILEEN, "eileen")
    assert sdk.subjects.update("grace", "eileen")["code"] == 43
    assert sdk.subjects.list() == {"subjects": ["eileen", "grace"]}


def test_photo_without_a_face_has_the_code_28(sdk: Sdk) -> None:
    nobody = encode(picture(), "JPEG")
    for answer in (
        sdk.recognition.recognize(nobody),
        sdk.detection.detect(nobody),
        sdk.verification.verify(nobody, GRACE),
        sdk.faces.add(nobody, "grace"),
    ):
        assert (answer["code"], "No face was found" in answer["message"]) == (28, True)


def test_photo_of_several_is_no_example(sdk: Sdk, group: bytes) -> None:
    assert sdk.faces.add(group, "grace")["code"] == 31


def test_bytes_of_no_image_say_21(sdk: Sdk) -> None:
    assert sdk.recognition.recognize(b"no image\0")["code"] == 21


def test_unknown_id_says_44(sdk: Sdk) -> None:
    assert sdk.faces.verify(GRACE, str(uuid4()))["code"] == 44
