import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.errors import LikenessError
from models.evaluation.face_map import FaceMap, caption, draw_png, make_map, render, silhouette

PEOPLE = [name for name in ("ada", "grace", "</script><b>") for _ in range(6)]
FILES = [f"{at}.jpg" for at in range(len(PEOPLE))]


def clustered(spread: float) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    vectors = np.repeat(np.eye(3, 8), 6, axis=0) + random.normal(0, spread, (18, 8))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def face_map() -> FaceMap:
    return make_map(clustered(0.05), PEOPLE, FILES)


def test_one_persons_faces_lie_together(face_map: FaceMap) -> None:
    centres = face_map.points.reshape(3, 6, 2).mean(axis=1)
    distances = np.linalg.norm(face_map.points[:, None] - centres, axis=2)
    assert distances.argmin(axis=1).tolist() == [0] * 6 + [1] * 6 + [2] * 6


def test_the_map_is_the_same_every_time(face_map: FaceMap) -> None:
    again = make_map(clustered(0.05), PEOPLE, FILES)
    np.testing.assert_array_equal(again.points, face_map.points)


def test_three_faces_make_no_map() -> None:
    with pytest.raises(LikenessError, match="four"):
        make_map(clustered(0.05)[:3], PEOPLE[:3], FILES[:3])


def test_silhouette_is_near_one_for_people_far_apart() -> None:
    assert (silhouette(clustered(0.02), PEOPLE) or 0) > 0.95


def test_silhouette_falls_as_people_mix() -> None:
    assert (silhouette(clustered(1.0), PEOPLE) or 0) < 0.5


def test_people_with_one_photo_have_no_silhouette() -> None:
    assert silhouette(clustered(0.02), FILES) is None


def test_the_caption_counts_faces_and_people(face_map: FaceMap) -> None:
    assert caption(face_map).startswith("18 faces of 3 people, silhouette 0.9")


def test_the_picture_is_a_png(face_map: FaceMap) -> None:
    assert Image.open(BytesIO(draw_png(face_map))).format == "PNG"


def test_the_page_asks_nothing_of_the_network(face_map: FaceMap) -> None:
    assert not re.search(r"https?:|//cdn|src=|@import", render(face_map))


def test_the_page_holds_every_face(face_map: FaceMap) -> None:
    found = re.search(r"const data = (.*);\n", render(face_map))
    assert found is not None
    assert json.loads(found[1])["files"] == FILES


def test_a_name_cannot_end_the_script(face_map: FaceMap) -> None:
    assert render(face_map).count("</script>") == 1


def test_the_page_links_photos_where_they_lie(face_map: FaceMap) -> None:
    assert "file:///photos/0.jpg" in render(face_map, Path("/photos"))
