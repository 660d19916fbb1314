import json
import re
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.errors import LikenessError
from models.evaluation.face_map import (
    FaceMap,
    caption,
    draw_png,
    lay_out,
    make_map,
    render,
    silhouette,
)

PEOPLE = [name for name in ("ada", "grace", "</script><b>") for _ in range(6)]
FILES = [f"{at}.jpg" for at in range(len(PEOPLE))]


def people(count: int, photos: int, spread: float = 0.05) -> NDArray[np.float32]:
    """Return unit vectors `(count * photos, 64)`, grouped by person."""
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(size=(count, 64)), photos, axis=0) / 8
    vectors += random.normal(0, spread, vectors.shape)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize(("count", "photos"), [(2, 2), (3, 4), (20, 5), (60, 2)])
def test_the_nearest_dot_is_one_of_the_same_person(count: int, photos: int) -> None:
    points = lay_out(people(count, photos)).points
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // photos == np.arange(count * photos) // photos).all()


def test_people_become_clusters_with_gaps_between() -> None:
    points = lay_out(people(10, 10)).points.reshape(10, 10, 2)
    centres = points.mean(axis=1)
    within = np.linalg.norm(points - centres[:, None], axis=2).max()
    between = np.linalg.norm(centres[:, None] - centres, axis=2)
    assert within < between[between > 0].min() / 2


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_few_vectors_are_placed_by_their_principal_components(count: int) -> None:
    layout = lay_out(people(9, 1)[:count])
    assert layout.points.shape == (count, 2)
    assert layout.complete
    assert layout.method == "principal components"


def test_equal_vectors_lie_on_one_another() -> None:
    points = lay_out(np.repeat(people(1, 1), 20, axis=0)).points
    assert np.ptp(points, axis=0).max() < 1e-3


def test_a_layout_without_scikit_learn_says_that_it_is_not_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = people(3, 4)
    placed = lay_out(vectors)
    assert (placed.method, placed.complete) == ("t-SNE", True)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    layout = lay_out(vectors)
    assert (layout.method, layout.complete) == ("principal components", False)
    # The first component has the largest spread, and the two are not correlated.
    covariance = np.cov(layout.points.T)
    largest = np.linalg.eigvalsh(np.cov(vectors.T))[::-1][:2]
    np.testing.assert_allclose(covariance, np.diag(largest), atol=1e-5)


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


def test_a_hostile_name_stays_a_name(face_map: FaceMap) -> None:
    name = "<script>\u2028'\"&{{ 7 * 7 }}"
    page = render(replace(face_map, people=[name] * len(PEOPLE)))
    assert page.count("<script>") == 1
    assert "\u2028" not in page
    found = re.search(r"const data = (.*);\n", page)
    assert found is not None
    assert json.loads(found[1])["names"] == [name]


def test_the_page_says_how_the_faces_were_placed(face_map: FaceMap) -> None:
    assert "Placed by t-SNE" in render(face_map)


def test_the_page_links_photos_where_they_lie(face_map: FaceMap) -> None:
    assert "file:///photos/0.jpg" in render(face_map, Path("/photos"))
