"""The operations on photos by boto3, unchanged, against a real server."""

from typing import Any

import pytest

from tests.images import picture
from tests.photos import jpeg, mirrored, photo_bytes, reencoded, turned
from tests.server import RunningServer

GRACE, EILEEN = {"Bytes": photo_bytes("grace")}, {"Bytes": photo_bytes("astronaut")}
GRACE_AGAIN = {"Bytes": mirrored(reencoded("grace", side=300))}
NOBODY = {"Bytes": jpeg(picture(300, 300))}
# At the default bundle's operating point of one in a thousand; see `deploy/migrate.md`.
ALIKE = 89.7


def at(detail: dict[str, Any], landmark: str) -> tuple[float, float]:
    (found,) = [each for each in detail["Landmarks"] if each["Type"] == landmark]
    return found["X"], found["Y"]


def test_two_photos_of_a_person_match(aws: Any) -> None:
    answer = aws.compare_faces(
        SourceImage=GRACE, TargetImage=GRACE_AGAIN, SimilarityThreshold=ALIKE
    )
    assert len(answer["FaceMatches"]) == 1
    assert answer["UnmatchedFaces"] == []


def test_strangers_are_unmatched(aws: Any) -> None:
    answer = aws.compare_faces(SourceImage=GRACE, TargetImage=EILEEN)
    assert answer["FaceMatches"] == []
    assert len(answer["UnmatchedFaces"]) == 1


def test_similarity_is_the_probability_of_verify_in_per_cent(
    aws: Any, server: RunningServer
) -> None:
    answer = aws.compare_faces(SourceImage=GRACE, TargetImage=GRACE_AGAIN)
    files = {"source_image": GRACE["Bytes"], "target_image": GRACE_AGAIN["Bytes"]}
    with server.client() as client:
        verified = client.post("/verify", files=files).json()
    similarity = answer["FaceMatches"][0]["Similarity"]
    assert similarity == pytest.approx(100 * verified["probability"], abs=0.01)


def test_matching_face_of_a_group_is_told_from_the_other(aws: Any, group: bytes) -> None:
    answer = aws.compare_faces(
        SourceImage=EILEEN, TargetImage={"Bytes": group}, SimilarityThreshold=ALIKE
    )
    (match,), (other,) = answer["FaceMatches"], answer["UnmatchedFaces"]
    assert match["Face"]["BoundingBox"]["Left"] > other["BoundingBox"]["Left"]


def test_second_photo_without_a_face_is_no_error(aws: Any) -> None:
    answer = aws.compare_faces(SourceImage=GRACE, TargetImage=NOBODY)
    assert (answer["FaceMatches"], answer["UnmatchedFaces"]) == ([], [])


@pytest.mark.parametrize("photo", [GRACE["Bytes"], turned("grace", 1), turned("grace", 2)])
def test_landmarks_lie_in_the_box_of_the_photo_as_it_was_sent(aws: Any, photo: bytes) -> None:
    (face,) = aws.detect_faces(Image={"Bytes": photo})["FaceDetails"]
    box = face["BoundingBox"]
    across, down = at(face, "nose")
    assert box["Left"] < across < box["Left"] + box["Width"]
    assert box["Top"] < down < box["Top"] + box["Height"]


def test_left_eye_is_the_viewers(aws: Any) -> None:
    (face,) = aws.detect_faces(Image=GRACE, Attributes=["ALL"])["FaceDetails"]
    assert at(face, "eyeLeft")[0] < at(face, "nose")[0] < at(face, "eyeRight")[0]
    assert at(face, "eyeLeft")[1] < at(face, "nose")[1]


def test_face_is_described_in_per_cent(aws: Any) -> None:
    (face,) = aws.detect_faces(Image=GRACE)["FaceDetails"]
    assert 80 < face["Confidence"] <= 100
    assert 0 < face["Quality"]["Brightness"] < 100
    assert abs(face["Pose"]["Roll"]) < 30


def test_every_face_of_a_photo_is_detected(aws: Any, group: bytes) -> None:
    assert len(aws.detect_faces(Image={"Bytes": group})["FaceDetails"]) == 2
    assert aws.detect_faces(Image=NOBODY)["FaceDetails"] == []


def test_wrong_photos_are_typed_exceptions(aws: Any) -> None:
    raised = aws.exceptions
    with pytest.raises(raised.InvalidImageFormatException):
        aws.detect_faces(Image={"Bytes": b"no photo"})
    with pytest.raises(raised.InvalidParameterException, match="No face was found"):
        aws.compare_faces(SourceImage=NOBODY, TargetImage=GRACE)
    with pytest.raises(raised.InvalidParameterException, match="S3"):
        aws.detect_faces(Image={"S3Object": {"Bucket": "photos", "Name": "ada.jpg"}})
    with pytest.raises(raised.ImageTooLargeException):
        aws.detect_faces(Image={"Bytes": bytes(25_000_000)})


def test_what_is_not_there_is_an_unknown_operation(aws: Any) -> None:
    with pytest.raises(aws.exceptions.ClientError) as caught:
        aws.detect_labels(Image=GRACE)
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"
