"""CSV lists, as different programs write them."""

from pathlib import Path

import pytest

from models.datasets.people import list_people, path_below
from models.datasets.tables import escape_formula, read_table, unescape_formula, write_table
from models.errors import LikenessError

ROWS = "path,identity\nx.jpg,José\ny.jpg,Zoë\n"


def write(folder: Path, data: bytes) -> Path:
    for name in ("x.jpg", "y.jpg"):
        (folder / name).write_bytes(b"")
    (folder / "list.csv").write_bytes(data)
    return folder / "list.csv"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ROWS.encode(), id="UTF-8"),
        pytest.param(ROWS.encode("utf-8-sig"), id="with a mark"),
        pytest.param(ROWS.encode("utf-16"), id="UTF-16"),
        pytest.param(ROWS.encode("utf-16-be"), id="UTF-16 without a mark"),
        pytest.param(ROWS.replace("\n", "\r\n").replace(",", ";").encode(), id="semicolons"),
        pytest.param(b"sep=;\r\n" + ROWS.replace(",", ";").encode(), id="sep"),
        pytest.param(ROWS.replace(",", "\t").encode("utf-16"), id="Unicode text"),
        pytest.param(ROWS.replace("\n", "\r").encode(), id="an old Mac"),
        pytest.param(ROWS.replace("path,identity", " Path, Identity ,").encode(), id="by hand"),
        pytest.param(ROWS.replace("x.jpg", '".\\x.jpg"').encode(), id="Windows"),
    ],
)
def test_a_list_is_read_whatever_program_wrote_it(tmp_path: Path, data: bytes) -> None:
    listed = list_people(write(tmp_path, data))
    assert listed.photos == [("x.jpg", "José"), ("y.jpg", "Zoë")]
    assert listed.unusable == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x.jpg,", "`identity` is empty"),
        (",ada", "`path` is empty"),
        ("x\0.jpg,ada", "control character"),
        ("x.jpg,a\x1b[2Jb", "control character"),
        (f"x.jpg,{'a' * 200_000}", "field"),
        (f"x.jpg,{'a' * 5000}", "longer than 4,096"),
        ("x.jpg,Lovelace, Ada", "3 cells"),
        ('"x.jpg,ada', "quotation mark is not closed"),
        ('x.jpg,"ada"b', "not a row of a CSV"),
        ("gone.jpg,ada", "There is no file"),
        ("../x.jpg,ada", "leads out of the folder"),
        ("/etc/hostname,ada", "leads out of the folder"),
        ("..\\x.jpg,ada", "leads out of the folder"),
    ],
)
def test_a_bad_row_fails_alone_with_file_and_row(tmp_path: Path, row: str, said: str) -> None:
    listed = list_people(write(tmp_path, f"path,identity\nx.jpg,José\n{row}\ny.jpg,Zoë\n".encode()))
    assert listed.photos == [("x.jpg", "José"), ("y.jpg", "Zoë")]
    (failed,) = listed.unusable
    assert failed.path == "list.csv, row 3"
    assert said in failed.sentence


def test_a_list_in_an_encoding_that_is_a_guess_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS.encode("cp1252"))
    with pytest.raises(LikenessError, match=r"list\.csv is not UTF-8: row 2 .*Windows-1252"):
        list_people(path)


def test_a_quoted_cell_may_go_on_over_lines(tmp_path: Path) -> None:
    path = write(tmp_path, b'path,identity,note\nx.jpg,ada,"one\ntwo"\ny.jpg,bob,\n')
    rows = read_table(path, ("path", "identity")).rows
    assert [(row.number, row["identity"], row["note"]) for row in rows] == [
        (2, "ada", "one\ntwo"),
        (4, "bob", ""),
    ]


def test_a_list_leads_out_of_its_folder_only_where_that_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"")
    path = write(tmp_path / "lists", b"path,identity\n../a.jpg,ada\n")
    with pytest.raises(LikenessError, match="--outside"):
        list_people(path)
    assert list_people(path, outside=True).photos == [("../a.jpg", "ada")]
    assert path_below("x/../y.jpg", tmp_path, outside=False) == "y.jpg"


@pytest.mark.parametrize(
    "cell", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", " =x", "\t=x", "\uff1dx", "'=x"]
)
def test_what_is_written_is_no_formula_and_reads_back(tmp_path: Path, cell: str) -> None:
    write_table(tmp_path / "out.csv", ("path",), [(cell,)])
    assert (tmp_path / "out.csv").read_text().splitlines()[1].strip('"').startswith("'")
    assert unescape_formula(escape_formula(cell)) == cell
    assert [unescape_formula(each) for each in ("'x", "x", "")] == ["'x", "x", ""]
