"""Collections of faces by boto3, unchanged, against a real server."""

from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image

from tests.images import picture
from tests.photos import jpeg, mirrored, open_photo, photo_bytes, reencoded
from tests.server import RunningServer

GRACE, EILEEN = {"Bytes": photo_bytes("grace")}, {"Bytes": photo_bytes("astronaut")}
GRACE_AGAIN = {"Bytes": mirrored(reencoded("grace", side=300))}
NOBODY = {"Bytes": jpeg(picture(300, 300))}
DARK = {"Bytes": jpeg(open_photo("grace").point(lambda value: value // 16))}
STAFF = "staff"


@pytest.fixture
def staff(aws: Any) -> Any:
    """Return a client with one empty collection."""
    assert aws.create_collection(CollectionId=STAFF)["StatusCode"] == 200
    return aws


def index(aws: Any, photo: dict[str, bytes], name: str, collection: str = STAFF) -> str:
    """Add the one face of a photo; return its id."""
    answer = aws.index_faces(CollectionId=collection, Image=photo, ExternalImageId=name)
    (record,) = answer["FaceRecords"]
    face_id: str = record["Face"]["FaceId"]
    return face_id


def count(aws: Any, collection: str = STAFF) -> int:
    found: int = aws.describe_collection(CollectionId=collection)["FaceCount"]
    return found


def search(aws: Any, photo: dict[str, bytes], collection: str = STAFF) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = aws.search_faces_by_image(
        CollectionId=collection, Image=photo, FaceMatchThreshold=90
    )["FaceMatches"]
    return found


def test_indexed_face_is_found_by_another_photo(staff: Any) -> None:
    face_id = index(staff, GRACE, "grace")
    index(staff, EILEEN, "eileen")
    (match,) = search(staff, GRACE_AGAIN)
    assert (match["Face"]["FaceId"], match["Face"]["ExternalImageId"]) == (face_id, "grace")
    assert match["Similarity"] > 90


def test_stranger_is_not_found(staff: Any) -> None:
    index(staff, GRACE, "grace")
    assert search(staff, EILEEN) == []


def test_every_face_of_a_photo_is_indexed_and_found(staff: Any, group: bytes) -> None:
    answer = staff.index_faces(CollectionId=STAFF, Image={"Bytes": group})
    ids = {each["Face"]["FaceId"] for each in answer["FaceRecords"]}
    assert (len(ids), count(staff)) == (2, 2)
    assert {search(staff, photo)[0]["Face"]["FaceId"] for photo in (GRACE, EILEEN)} == ids


def test_faces_beyond_the_most_asked_for_are_named(staff: Any, group: bytes) -> None:
    answer = staff.index_faces(CollectionId=STAFF, Image={"Bytes": group}, MaxFaces=1)
    assert [each["Reasons"] for each in answer["UnindexedFaces"]] == [["EXCEEDS_MAX_FACES"]]
    assert (len(answer["FaceRecords"]), count(staff)) == (1, 1)


def test_poor_face_is_indexed_only_without_the_filter(staff: Any) -> None:
    answer = staff.index_faces(CollectionId=STAFF, Image=DARK, QualityFilter="AUTO")
    assert [each["Reasons"] for each in answer["UnindexedFaces"]] == [
        ["LOW_BRIGHTNESS", "LOW_FACE_QUALITY"]
    ]
    answer = staff.index_faces(CollectionId=STAFF, Image=DARK, QualityFilter="NONE")
    assert len(answer["FaceRecords"]) == 1


def test_poor_face_leaves_the_good_one_beside_it(staff: Any, group: bytes) -> None:
    photo = Image.open(BytesIO(group))
    half = (0, 0, 512, photo.height)
    photo.paste(photo.crop(half).point(lambda value: value // 12), half)
    answer = staff.index_faces(CollectionId=STAFF, Image={"Bytes": jpeg(photo)})
    assert (len(answer["FaceRecords"]), len(answer["UnindexedFaces"])) == (1, 1)
    assert len(search(staff, EILEEN)) == 1


def test_same_photo_again_keeps_its_ids(staff: Any, group: bytes) -> None:
    first, again = (staff.index_faces(CollectionId=STAFF, Image={"Bytes": group}) for _ in range(2))
    assert first["FaceRecords"] == again["FaceRecords"]
    assert count(staff) == 2


def test_photo_without_a_face_indexes_nothing(staff: Any) -> None:
    answer = staff.index_faces(CollectionId=STAFF, Image=NOBODY)
    assert (answer["FaceRecords"], answer["UnindexedFaces"]) == ([], [])


def test_collections_do_not_see_each_others_faces(staff: Any) -> None:
    staff.create_collection(CollectionId="guests")
    ids = {index(staff, GRACE, "grace", name) for name in (STAFF, "guests")}
    index(staff, EILEEN, "eileen", "guests")
    assert len(ids) == 2
    assert len(search(staff, GRACE)) == len(search(staff, GRACE, "guests")) == 1
    assert search(staff, EILEEN) == []


def test_gallery_of_identify_and_collections_do_not_see_each_other(
    staff: Any, server: RunningServer
) -> None:
    face_id = index(staff, GRACE, "grace")
    with server.client() as client:
        found = client.post("/identify", files={"image": GRACE["Bytes"]}).json()
        assert (found["candidates"], found["gallery"]) == ([], 0)
        assert client.get("/subjects").json()["items"] == []
        assert client.get(f"/subjects/{face_id}").json()["subject"] == face_id


def test_face_erased_by_its_subject_is_gone(staff: Any, server: RunningServer) -> None:
    face_id = index(staff, GRACE, "grace")
    with server.client() as client:
        assert client.delete(f"/subjects/{face_id}").json()["templates"] == 1
    assert (search(staff, GRACE), count(staff)) == ([], 0)


def test_faces_like_one_of_the_collection_leave_it_out(staff: Any) -> None:
    one, other = index(staff, GRACE, "one"), index(staff, GRACE_AGAIN, "other")
    index(staff, EILEEN, "eileen")
    answer = staff.search_faces(CollectionId=STAFF, FaceId=one, FaceMatchThreshold=90)
    assert answer["SearchedFaceId"] == one
    assert [each["Face"]["FaceId"] for each in answer["FaceMatches"]] == [other]


def test_face_whose_subject_was_renamed_goes_by_its_id_as_before(
    staff: Any, server: RunningServer
) -> None:
    record = staff.index_faces(CollectionId=STAFF, Image=GRACE, ExternalImageId="grace")
    face = record["FaceRecords"][0]["Face"]
    face_id, other = face["FaceId"], index(staff, GRACE_AGAIN, "other")
    with server.client() as client:
        renamed = client.post(f"/subjects/{face_id}/rename", json={"to": "Grace Hopper"})
        assert renamed.status_code == 200
    assert index(staff, GRACE, "grace") == face_id
    assert count(staff) == 2
    named = staff.list_faces(CollectionId=STAFF, FaceIds=[face_id])["Faces"]
    assert named == [face]
    listed = staff.list_faces(CollectionId=STAFF)["Faces"]
    assert {each["FaceId"] for each in listed} == {face_id, other}
    alike = staff.search_faces(CollectionId=STAFF, FaceId=face_id)["FaceMatches"]
    assert [each["Face"]["FaceId"] for each in alike] == [other]
    assert search(staff, GRACE)[0]["Face"] == face
    gone = staff.delete_faces(CollectionId=STAFF, FaceIds=[face_id])
    assert (gone["DeletedFaces"], gone["UnsuccessfulFaceDeletions"]) == ([face_id], [])
    assert count(staff) == 1


def test_token_that_a_listing_did_not_give_is_a_typed_exception(staff: Any) -> None:
    for photo in (GRACE, EILEEN):
        index(staff, photo, "one")
    staff.create_collection(CollectionId="guests")
    of_faces = staff.list_faces(CollectionId=STAFF, MaxResults=1)["NextToken"]
    of_collections = staff.list_collections(MaxResults=1)["NextToken"]
    wrong = staff.exceptions.InvalidPaginationTokenException
    for token in ("zzz", "é", "", of_collections, of_faces[:-4], of_faces + "AAAA", of_faces + "!"):
        with pytest.raises(wrong):
            staff.list_faces(CollectionId=STAFF, NextToken=token)
        if token != of_collections:
            with pytest.raises(wrong):
                staff.list_collections(NextToken=token)
    with pytest.raises(wrong):
        staff.list_faces(CollectionId="guests", NextToken=of_faces)


def test_faces_are_listed_page_by_page(staff: Any) -> None:
    ids = {index(staff, photo, "one") for photo in (GRACE, GRACE_AGAIN, EILEEN)}
    pages = staff.get_paginator("list_faces").paginate(CollectionId=STAFF, MaxResults=2)
    listed = [[face["FaceId"] for face in page["Faces"]] for page in pages]
    assert [len(page) for page in listed] == [2, 1]
    assert {face_id for page in listed for face_id in page} == ids


def test_named_faces_are_listed_as_they_were_indexed(staff: Any) -> None:
    record = staff.index_faces(CollectionId=STAFF, Image=GRACE, ExternalImageId="grace")
    face = record["FaceRecords"][0]["Face"]
    found = staff.list_faces(CollectionId=STAFF, FaceIds=[face["FaceId"], str(uuid4())])
    assert found["Faces"] == [face]


def test_deleted_faces_are_gone_and_unknown_ones_are_named(staff: Any) -> None:
    face_id, unknown = index(staff, GRACE, "grace"), str(uuid4())
    answer = staff.delete_faces(CollectionId=STAFF, FaceIds=[face_id, unknown])
    assert answer["DeletedFaces"] == [face_id]
    (failed,) = answer["UnsuccessfulFaceDeletions"]
    assert (failed["FaceId"], failed["Reasons"]) == (unknown, ["FACE_NOT_FOUND"])
    assert (search(staff, GRACE), count(staff)) == ([], 0)


def test_faces_of_another_collection_are_not_deleted(staff: Any) -> None:
    staff.create_collection(CollectionId="guests")
    face_id = index(staff, GRACE, "grace", "guests")
    assert staff.delete_faces(CollectionId=STAFF, FaceIds=[face_id])["DeletedFaces"] == []
    assert count(staff, "guests") == 1


def test_deleted_collection_is_gone_with_its_faces(staff: Any) -> None:
    index(staff, GRACE, "grace")
    assert staff.delete_collection(CollectionId=STAFF)["StatusCode"] == 200
    with pytest.raises(staff.exceptions.ResourceNotFoundException):
        search(staff, GRACE)
    staff.create_collection(CollectionId=STAFF)
    assert (search(staff, GRACE), count(staff)) == ([], 0)


def test_collections_are_listed_page_by_page(aws: Any) -> None:
    names = [f"room-{number}" for number in range(5)]
    for name in names:
        aws.create_collection(CollectionId=name)
    pages = aws.get_paginator("list_collections").paginate(PaginationConfig={"PageSize": 2})
    assert [page["CollectionIds"] for page in pages] == [names[:2], names[2:4], names[4:]]


def test_collection_is_described(staff: Any, server: RunningServer) -> None:
    described = staff.describe_collection(CollectionId=STAFF)
    with server.client() as client:
        fingerprint = client.get("/model").json()["fingerprint"]
    assert fingerprint.startswith(described["FaceModelVersion"])
    assert described["CreationTimestamp"].tzinfo is not None


def test_wrong_collections_are_typed_exceptions(staff: Any) -> None:
    raised = staff.exceptions
    with pytest.raises(raised.ResourceAlreadyExistsException):
        staff.create_collection(CollectionId=STAFF)
    with pytest.raises(raised.ResourceNotFoundException):
        index(staff, GRACE, "grace", "nowhere")
    with pytest.raises(raised.ResourceNotFoundException):
        staff.delete_collection(CollectionId="nowhere")
    with pytest.raises(raised.InvalidParameterException, match="FaceId"):
        staff.search_faces(CollectionId=STAFF, FaceId=str(uuid4()))
    with pytest.raises(raised.InvalidParameterException, match="Tags"):
        staff.create_collection(CollectionId="tagged", Tags={"of": "mine"})
