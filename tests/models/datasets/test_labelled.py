from pathlib import Path

import numpy as np
import pytest

from models.datasets.labelled import pair_places, read_people, read_protocol, select, with_groups
from models.errors import LikenessError

LFW = """2\t1
Ada_Lovelace\t1\t2
Ada_Lovelace\t1\tGrace_Hopper\t3
Grace_Hopper\t1\t3
Grace_Hopper\t1\tAda_Lovelace\t2
"""


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def lfw(folder: Path, suffix: str = ".jpg") -> Path:
    """Write the photos that LFW's pairs name."""
    for name, number in (("Ada_Lovelace", 1), ("Ada_Lovelace", 2), ("Grace_Hopper", 1)):
        write(folder / name / f"{name}_{number:04}{suffix}")
    write(folder / "Grace_Hopper" / f"Grace_Hopper_0003{suffix}")
    return folder


def numbered(folder: Path) -> Path:
    """Write the photos 1.jpg to 4.jpg."""
    for number in range(1, 5):
        write(folder / f"{number}.jpg")
    return folder


# LFW's own layout


def test_lfw_pairs_name_files_by_person_and_number(tmp_path: Path) -> None:
    labelled = read_protocol(lfw(tmp_path), write(tmp_path / "pairs.txt", LFW))
    assert labelled.images == [
        "Ada_Lovelace/Ada_Lovelace_0001.jpg",
        "Ada_Lovelace/Ada_Lovelace_0002.jpg",
        "Grace_Hopper/Grace_Hopper_0001.jpg",
        "Grace_Hopper/Grace_Hopper_0003.jpg",
    ]
    assert labelled.people.tolist() == [0, 0, 1, 1]


def test_lfw_pairs_of_one_name_are_of_one_person(tmp_path: Path) -> None:
    labelled = read_protocol(lfw(tmp_path), write(tmp_path / "pairs.txt", LFW))
    assert labelled.pairs == [(0, 1, True), (0, 3, False), (2, 3, True), (2, 1, False)]


def test_lfw_folds_are_kept(tmp_path: Path) -> None:
    assert read_protocol(lfw(tmp_path), write(tmp_path / "pairs.txt", LFW)).folds == [0, 0, 1, 1]


def test_view_1_has_no_folds(tmp_path: Path) -> None:
    text = "1\nAda_Lovelace\t1\t2\nAda_Lovelace\t1\tGrace_Hopper\t3\n"
    assert read_protocol(lfw(tmp_path), write(tmp_path / "pairsDevTest.txt", text)).folds == []


@pytest.mark.parametrize("suffix", [".png", ".JPG"])
def test_lfw_photos_may_have_another_suffix(tmp_path: Path, suffix: str) -> None:
    labelled = read_protocol(lfw(tmp_path, suffix), write(tmp_path / "pairs.txt", LFW))
    assert labelled.images[0] == f"Ada_Lovelace/Ada_Lovelace_0001{suffix}"


def test_photos_of_a_protocol_that_are_not_there_are_left_out_and_listed(tmp_path: Path) -> None:
    folder = lfw(tmp_path)
    (folder / "Grace_Hopper" / "Grace_Hopper_0003.jpg").unlink()
    labelled = read_protocol(folder, write(tmp_path / "pairs.txt", LFW))
    assert (labelled.pairs, labelled.folds) == ([(0, 1, True), (2, 1, False)], [0, 1])
    assert [row.path for row in labelled.unusable] == ["Grace_Hopper/Grace_Hopper_0003.jpg"]


def test_the_wrong_folder_is_named_with_a_photo_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match=r"4 are not below .*Ada_Lovelace_0001\.jpg"):
        read_protocol(tmp_path, write(tmp_path / "pairs.txt", LFW))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("a b c\n", id="no head"),
        pytest.param("5\nAda\t1\t2\n", id="too few pairs"),
        pytest.param("1\nAda\t1\t2\nAda\tone\tGrace\t1\n", id="a line that is no pair"),
    ],
)
def test_a_file_that_is_not_lfw_layout_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LikenessError):
        read_protocol(tmp_path, write(tmp_path / "pairs.txt", text))


# CSV


def test_people_follow_from_pairs(tmp_path: Path) -> None:
    text = "a,b,same\n1.jpg,2.jpg,1\n2.jpg,3.jpg,true\n3.jpg,4.jpg,0\n"
    labelled = read_protocol(numbered(tmp_path), write(tmp_path / "pairs.csv", text))
    assert labelled.people.tolist() == [0, 0, 0, 1]


def test_pairs_alone_do_not_say_who_else_is_one_person(tmp_path: Path) -> None:
    text = "a,b,same\n1.jpg,2.jpg,1\n3.jpg,4.jpg,0\n"
    assert not read_protocol(numbered(tmp_path), write(tmp_path / "pairs.csv", text)).complete


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a,b,same\n1,2,1\n2,3,1\n1,3,0\n", id="contradiction"),
        pytest.param("a,b,same\n1,2,perhaps\n", id="neither 0 nor 1"),
        pytest.param("left,right\n1,2\n", id="other columns"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LikenessError):
        read_protocol(tmp_path, write(tmp_path / "pairs.csv", text))


def test_a_file_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match=r"none\.csv"):
        read_protocol(tmp_path, tmp_path / "none.csv")


# A folder per person


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ada/1.jpg", "ada/2.jpg", "ada/old/3.jpg", "grace/1.png", "grace/notes.txt"):
        write(tmp_path / name)
    write(tmp_path / "nobody.jpg")
    return tmp_path


def test_a_folder_names_the_person_in_all_photos_below_it(folder: Path) -> None:
    labelled = read_protocol(folder)
    assert labelled.images == ["ada/1.jpg", "ada/2.jpg", "ada/old/3.jpg", "grace/1.png"]
    assert labelled.names() == ["ada", "ada", "ada", "grace"]


def test_as_many_pairs_of_each_kind_are_drawn(folder: Path) -> None:
    kinds = [same for _, _, same in read_protocol(folder).pairs]
    assert (kinds.count(True), kinds.count(False)) == (3, 3)


def test_drawn_pairs_are_of_the_kind_they_say(folder: Path) -> None:
    labelled = read_protocol(folder)
    assert all((labelled.people[a] == labelled.people[b]) == same for a, b, same in labelled.pairs)


def test_a_folder_of_one_person_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "ada" / "1.jpg")
    with pytest.raises(LikenessError, match="at least two people"):
        read_protocol(tmp_path)


def test_people_csv_in_the_folder_says_who_is_who(folder: Path) -> None:
    write(folder / "people.csv", "image,person\nada/1.jpg,9\ngrace/1.png,4\n")
    write(folder / "pairs.csv", "a,b,same\nada/1.jpg,grace/1.png,0\n")
    assert read_protocol(folder).names() == ["9", "4"]


# Groups


def test_groups_are_in_the_order_of_the_photos(folder: Path) -> None:
    path = write(folder / "groups.csv", "image,group\ngrace/1.png,y\nada/1.jpg,x\n")
    assert with_groups(read_protocol(folder), path).groups == ["x", "", "", "y"]


def test_groups_of_other_photos_are_refused(folder: Path) -> None:
    path = write(folder / "groups.csv", "image,group\nelsewhere.jpg,x\n")
    with pytest.raises(LikenessError, match="none of the photos"):
        with_groups(read_protocol(folder), path)


# The person on each photo, without pairs


def test_people_are_read_from_folders_without_pairs(folder: Path) -> None:
    read = read_people(folder)
    assert read.pairs == []
    assert read.images == read_protocol(folder).images


def test_people_are_read_from_a_list_whose_paths_start_at_its_folder(tmp_path: Path) -> None:
    text = "path,identity\nx/1.jpg,ada\ny.jpg,grace\nx/2.jpg,ada\n"
    for name in ("x/1.jpg", "y.jpg", "x/2.jpg"):
        write(tmp_path / name)
    read = read_people(write(tmp_path / "people.csv", text))
    assert read.folder == tmp_path
    assert read.images == ["x/1.jpg", "y.jpg", "x/2.jpg"]
    assert read.names() == ["ada", "grace", "ada"]


def test_a_list_without_identities_is_refused_by_its_column(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="identity"):
        read_people(write(tmp_path / "people.csv", "path,name\nx.jpg,ada\n"))


def test_selected_photos_keep_their_names_and_get_pairs_of_their_own(folder: Path) -> None:
    whole = read_people(folder)
    part = select(whole, np.arange(len(whole.images))[1:])
    assert part.images == whole.images[1:]
    assert part.names() == whole.names()[1:]
    assert all(max(a, b) < len(part.images) for a, b, _ in part.pairs)


def test_huge_sets_are_compared_in_part() -> None:
    people = np.arange(1000) // 2
    a, b = pair_places(people, most=5000)
    same = people[a] == people[b]
    assert np.all(a < b)
    assert same.sum() == 500
    assert 4000 < (~same).sum() <= 4500


def test_huge_people_do_not_crowd_out_strangers() -> None:
    people = np.arange(1000) // 500
    a, b = pair_places(people, most=5000)
    assert 0.4 < np.mean(people[a] == people[b]) < 0.7


def test_drawn_pairs_are_the_same_every_time() -> None:
    people = np.arange(1000) // 2
    np.testing.assert_array_equal(pair_places(people, most=500), pair_places(people, most=500))
