"""Test unusual folders, lists and names with the code that all commands use."""

import csv
import io
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from typer.testing import CliRunner

from models.datasets.people import list_people
from models.datasets.tables import escape_formula, unescape_formula
from models.errors import LikenessError
from service.cli.app import app
from service.cli.terminal import EXIT_SOME_FAILED, is_printed, show, visible
from tests.checkpoints import write_bundle
from tests.folders import SYSTEM, write_hostile
from tests.people import write_people
from tests.tools.reliability.row import Row

FOLDERS, LISTS, NAMES = 400, 4000, 50_000
_FORMULAS = ("=", "+", "-", "@", "\uff1d", " =", "\t@", "'=")
_CONTROLS = ("\x1b[2J", "\x1b]0;x\x07", "\u202e", "\x9b1m", "\r", "\n", "\udcff")
_PARTS = ("[/b]", "[red]", ":x:", *_CONTROLS)
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")


def rows(scale: float) -> list[Row]:
    """Test folders, lists, names and commands; the numbers are those of scale 1."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        return [
            _folders(folder / "folders", chance, round(FOLDERS * scale)),
            _lists(folder / "lists", chance, round(LISTS * scale)),
            _names(chance, round(NAMES * scale)),
            _commands(folder / "commands"),
        ]


def _folders(place: Path, chance: random.Random, count: int) -> Row:
    """Read folders of a few people with system files, links and pipes among the photos."""
    wrong = entries = 0
    for number in range(count):
        folder = place / str(number)
        expected = _write_folder(folder, chance)
        entries += sum(1 for _ in folder.rglob("*"))
        listed = list_people(folder / "people")
        wrong += sorted(listed.photos) != sorted(expected)
    return Row(
        "folders with system files, loops, broken links, pipes and unusual names",
        f"{count:,} folders, {entries:,} entries",
        f"{wrong} read wrongly",
        "0",
        not wrong,
    )


def _write_folder(folder: Path, chance: random.Random) -> list[tuple[str, str]]:
    """Write a folder, and return `(path, person)` of each photo that must be found."""
    people = folder / "people"
    expected = []
    for number in range(chance.randint(1, 5)):
        name = f"p{number}" + chance.choice(("", " \u00e9", "[b]", "=x"))
        inside = chance.choice(("", "a/", "a/b c/"))
        suffix = chance.choice((".jpg", ".JPEG", ".HeIc", ".png"))
        home = people / name
        if chance.random() < 0.3:  # kept elsewhere
            home = folder / "elsewhere" / name
            people.mkdir(parents=True, exist_ok=True)
            (people / name).symlink_to(home)
        (home / inside).mkdir(parents=True)
        (home / inside / f"1{suffix}").write_bytes(b"")
        expected.append((f"{name}/{inside}1{suffix}", name))
    for number in range(chance.randint(0, 30)):
        _add_trouble(people, chance, number)
    return expected


def _add_trouble(people: Path, chance: random.Random, number: int) -> None:
    """Add an entry that is not a photo, to the folder or to a person's folder."""
    where = chance.choice([people, *(each for each in people.iterdir() if each.is_dir())])
    match chance.randrange(7):
        case 0:
            (where / chance.choice(SYSTEM)).mkdir(exist_ok=True)
            for each in (name for name in SYSTEM if (where / name).is_dir()):
                (where / each / "x.jpg").write_bytes(b"")
        case 1:
            (where / f"loop{number}").symlink_to(chance.choice((people, people.parent)))
        case 2:
            (where / f"gone{number}.jpg").symlink_to(people / "nowhere")
        case 3:
            os.mkfifo(where / f"pipe{number}.jpg")
        case 4:
            (where / f"._x{number}.jpg").write_bytes(b"")
        case 5:
            (where / f"notes{number}.txt").write_bytes(b"")
        case _:
            os.makedirs(os.fsencode(people) + b"/\xff%d" % number)


def _lists(place: Path, chance: random.Random, count: int) -> Row:
    """Read lists with good and bad rows, in every supported encoding."""
    place.mkdir()
    (place / "x.jpg").write_bytes(b"")
    path, wrong, bad_rows = place / "list.csv", 0, 0
    for _ in range(count):
        text, good, bad = _write_list(chance)
        bad_rows += len(bad)
        path.write_bytes(text.encode(chance.choice(_ENCODINGS)))
        try:
            listed = list_people(path)
        except LikenessError:
            wrong += bool(good)
            continue
        named = [row.path for row in listed.unusable]
        expected = [f"list.csv, row {number}" for number in bad]
        wrong += [name for _, name in listed.photos] != good or sorted(named) != sorted(expected)
    return Row(
        "lists with bad rows, in five encodings and three separators",
        f"{count:,} lists, {bad_rows:,} bad rows",
        f"{wrong} with a lost good row or an unreported bad row",
        "0",
        not wrong,
    )


def _write_list(chance: random.Random) -> tuple[str, list[str], list[int]]:
    """Return a list, the people of its good rows, and the numbers of its bad rows."""
    separator = chance.choice(",;\t")
    stream, good, bad = io.StringIO(newline=""), [], []
    writer = csv.writer(stream, delimiter=separator, lineterminator=chance.choice(("\n", "\r\n")))
    writer.writerow(("path", "identity"))
    for number in range(2, chance.randint(3, 12)):
        name = f"p{number}" + chance.choice(("", " \u00e9", ", x", ' "q"', "; x"))
        row = chance.choice((None, None, *_BAD_ROWS))
        if row is None:
            writer.writerow(("x.jpg", name))
            good.append(name)
        else:
            writer.writerow(row)
            bad.append(number)
    return stream.getvalue(), good, bad


_BAD_ROWS = (
    ("x.jpg", ""),
    ("", "ada"),
    ("gone.jpg", "ada"),
    ("../x.jpg", "ada"),
    ("/etc/passwd", "ada"),
    ("x\0.jpg", "ada"),
    ("x.jpg", "a\x1b[2J"),
    ("x.jpg", "a" * 5000),
    ("x.jpg", "a" * 200_000),
    ("x.jpg", "ada", "more"),
    ("x.jpg", "a\u202eda"),
)


def _names(chance: random.Random, count: int) -> Row:
    """Print names, and write them to lists."""
    wrong = 0
    for name in _some_names(chance, count):
        with redirect_stdout(io.StringIO()) as printed, redirect_stderr(printed):
            show(name)
        line = printed.getvalue().removesuffix("\n")
        wrong += line != visible(name) or not all(is_printed(character) for character in line)
        wrong += (
            unescape_formula(escape_formula(name)) != name or escape_formula(name)[:1] in _FORMULAS
        )
    return Row(
        "names with markup, terminal escapes and formulas, printed and written",
        f"{count:,} names",
        f"{wrong} interpreted by a terminal or a spreadsheet, or changed when read back",
        "0",
        not wrong,
    )


def _some_names(chance: random.Random, count: int) -> Iterator[str]:
    for _ in range(count):
        parts = [chance.choice(_PARTS) for _ in range(chance.randint(0, 4))]
        letters = "".join(chr(chance.randrange(1, 0x2FFF)) for _ in range(chance.randint(0, 6)))
        yield chance.choice(("", *_FORMULAS)) + "".join(parts) + letters


def _commands(place: Path) -> Row:
    """Run every command that reads a folder on an unusual one."""
    place.mkdir()
    people = write_hostile(place)
    write_people(people / "more", 4, 2)
    for each in (people / "more").iterdir():
        each.rename(people / each.name)
    bundle = write_bundle(place / "tiny")
    commands = (
        ("enroll-folder", people, "--rejected", place / "rejected.csv"),
        ("embed-folder", people, "--out", place / "vectors"),
        ("evaluate", people, "--report", place / "report", "--no-conditions"),
        ("map", people, "--out", place / "map"),
    )
    environment = {
        "LIKENESS_STORE": f"sqlite:///{place / 'likeness.db'}",
        "LIKENESS_BUNDLE": str(bundle),
    }
    statuses = [
        CliRunner().invoke(app, [str(word) for word in words], env=environment).exit_code
        for words in commands
    ]
    done = sum(status == EXIT_SOME_FAILED for status in statuses)
    return Row(
        "commands that read folders, on a folder with all of these",
        ", ".join(str(words[0]) for words in commands),
        f"{done} of {len(commands)} processed the rest and listed unusable files",
        "all",
        done == len(commands),
    )
