"""Which files of a folder are photos."""

from pathlib import Path

import pytest

from models.datasets.folders import contents_of, photos_in, read_photo_file
from models.datasets.people import list_people
from models.errors import LikenessError
from tests.folders import write_hostile
from tests.photos import photo_bytes


def test_in_a_folder_of_the_wild_people_are_people_and_nothing_is_lost_silently(
    tmp_path: Path,
) -> None:
    listed = list_people(write_hostile(tmp_path))
    assert sorted({name for _, name in listed.photos}) == ["Cyd", "a[", "ada", "grace"]
    assert sorted(path for path, name in listed.photos if name == "ada") == [
        "ada/1.jpg",
        "ada/scan",
    ]
    assert [(row.path.encode(errors="replace"), row.sentence) for row in listed.unusable] == [
        (b"ada/gone.jpg", "The link leads nowhere."),
        (b"ada/pipe.jpg", "This is a pipe, a socket or a device, not a file."),
        (b"nobody.jpg", "The photo is not in a person's folder."),
        (b"caf?", "The name is not UTF-8."),
    ]
    hidden, others, repeated = listed.notes
    assert "10 hidden" in hidden
    assert "notes.txt" in others
    assert "3 a link to a folder that was read already" in repeated


def test_a_tree_is_read_down_to_the_longest_path_there_can_be(tmp_path: Path) -> None:
    deep = tmp_path
    while len(str(deep)) < 3700:
        deep /= "d" * 250
        deep.mkdir()
    (deep / "a.jpg").write_bytes(b"")
    assert len(photos_in(tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("ada/.hidden/1.jpg", "no photo"), ("1.jpg", "no folders with photos"), ("ada/1.txt", ".txt")],
)
def test_a_folder_without_people_is_told_what_is_expected(
    tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(photo_bytes("grace"))
    with pytest.raises(LikenessError) as caught:
        list_people(tmp_path)
    assert said in caught.value.sentence
    assert str(tmp_path / "ada" / "1.jpg") in caught.value.sentence


def test_the_system_s_own_names_do_not_count_for_the_folder_that_is_given(tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "@eaDir"
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(b"")
    assert contents_of(folder).photos == [folder / "1.jpg"]


def test_what_is_no_regular_file_is_never_waited_for(tmp_path: Path) -> None:
    for path in (write_hostile(tmp_path) / "ada" / "pipe.jpg", tmp_path, Path("a\0b")):
        with pytest.raises(OSError, match=r"regular file|No file"):
            read_photo_file(path)


def test_two_forms_of_one_name_are_one_person(tmp_path: Path) -> None:
    for at, name in enumerate(("Jos\u00e9", "Jose\u0301", "ada\u200b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{at}.jpg").write_bytes(b"")
    listed = list_people(tmp_path)
    assert [name for _, name in listed.photos] == ["Jos\u00e9", "Jos\u00e9"]
    assert [row.code for row in listed.unusable] == ["invalid_name"]
