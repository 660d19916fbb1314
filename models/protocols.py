"""Read labelled photos: who is on each, and which pairs a protocol compares."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.comparisons import pair_places
from models.crops import PHOTO_SUFFIXES, photos_in
from models.errors import LikenessError

# A folder has no pairs of its own: so many of each kind are drawn, as LFW's View 2 has.
PAIRS_OF_A_KIND = 3000


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Hold photos of a folder, the person on each, and the pairs of its protocol.

    `people` `(n,)` numbers them from 0. `folds` has the fold of every pair, or is empty.
    `groups` has the group of every photo, "" where unknown, or is empty. Where the file names
    pairs only, `complete` is False: two photos it never pairs may show one person.
    `person_names` are by number, or empty.
    """

    folder: Path
    images: list[str]
    people: NDArray[np.int64]
    pairs: list[tuple[int, int, bool]]
    folds: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    complete: bool = True
    person_names: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the name of the person on every photo, or the number where there is none."""
        return [self.person_names[at] if self.person_names else str(at) for at in self.people]


def read_protocol(photos: Path, pairs: Path | None = None) -> LabelledSet:
    """Read a folder with its pairs: LFW's `pairs.txt`, a CSV `a,b,same`, or none.

    Without pairs, `people.csv` and `pairs.csv` in the folder are taken, else the folder below
    it that a photo lies in names the person. Raises LikenessError.
    """
    try:
        if pairs is None:
            labelled = photos / "people.csv"
            return read_labelled(photos) if labelled.is_file() else read_folder(photos)
        return read_lfw(pairs, photos) if pairs.suffix == ".txt" else read_pairs(pairs, photos)
    except (OSError, UnicodeDecodeError) as exc:
        raise LikenessError(f"{pairs or photos} cannot be read: {exc}") from exc


def read_labelled(folder: Path) -> LabelledSet:
    """Read `people.csv` (image,person) and `pairs.csv` (a,b,same)."""
    rows = _rows(folder / "people.csv", ("image", "person"))
    images = [image for image, _ in rows]
    known, people = np.unique([person for _, person in rows], return_inverse=True)
    index = {image: i for i, image in enumerate(images)}
    pairs = _pairs(folder / "pairs.csv", index)
    return LabelledSet(folder, images, people.astype(np.int64), pairs, person_names=known.tolist())


def read_pairs(path: Path, photos: Path) -> LabelledSet:
    """Read a CSV `a,b,same` of files below `photos`; who is who follows from the pairs."""
    named = _rows(path, ("a", "b", "same"))
    images = sorted({name for a, b, _ in named for name in (a, b)})
    index = {image: i for i, image in enumerate(images)}
    pairs = _pairs(path, index)
    people = _joined(len(images), [(a, b) for a, b, same in pairs if same])
    contradictory = next((p for p in pairs if not p[2] and people[p[0]] == people[p[1]]), None)
    if contradictory is not None:
        raise LikenessError(
            f"{path} says that {images[contradictory[0]]} and {images[contradictory[1]]} show "
            "two people, and by its other pairs they show one."
        )
    return LabelledSet(photos, images, people, pairs, complete=False)


def read_lfw(path: Path, photos: Path) -> LabelledSet:
    """Read the layout of LFW's `pairs.txt` and `pairsDevTest.txt`.

    The first line says how many folds there are, if any, and how many pairs of each kind a
    fold has; `name i j` is one person, `name i other j` two. Photo `i` of a person is
    `name/name_000i.jpg`.
    """
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    head, lines = (lines[0], lines[1:]) if lines else ([], [])
    if not head or not all(word.isdigit() for word in head) or len(head) > 2:
        raise LikenessError(f"{path} does not begin with the number of folds and pairs.")
    per_fold = 2 * int(head[-1])
    named = [_lfw_pair(line, path) for line in lines]
    if len(named) != per_fold * (int(head[0]) if len(head) == 2 else 1):
        raise LikenessError(f"{path} has {len(named)} pairs, not as many as it says.")
    photographed = sorted({photo for pair in named for photo in pair})
    index = {photo: i for i, photo in enumerate(photographed)}
    known, people = np.unique([name for name, _ in photographed], return_inverse=True)
    pairs = [(index[a], index[b], a[0] == b[0]) for a, b in named]
    folds = [at // per_fold for at in range(len(pairs))] if len(head) == 2 else []
    images = [_lfw_file(photos, name, number) for name, number in photographed]
    people = people.astype(np.int64)
    return LabelledSet(photos, images, people, pairs, folds, person_names=known.tolist())


def read_folder(folder: Path, seed: int = 0) -> LabelledSet:
    """Read a folder of one folder per person, and draw as many pairs of each kind."""
    labelled = read_people(folder)
    return replace(labelled, pairs=draw_pairs(labelled.people, seed))


def read_people(source: Path) -> LabelledSet:
    """Read who is on which photo, without pairs: a folder per person, or a CSV `path,identity`.

    Paths in the CSV start at its own folder. Raises LikenessError.
    """
    folder, named = list_people(source)
    if len({name for _, name in named}) < 2:
        raise LikenessError(
            f"{source} needs folders of photos, one per person, two at least; or give a CSV "
            "path,identity."
        )
    known, people = np.unique([name for _, name in named], return_inverse=True)
    images = [image for image, _ in named]
    return LabelledSet(folder, images, people.astype(np.int64), [], person_names=known.tolist())


def list_people(source: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Return a folder and `(path below it, identity)` of the photos of such a source."""
    if source.is_file():
        return source.parent, [(row[0], row[1]) for row in _rows(source, ("path", "identity"))]
    files = [file.relative_to(source) for file in photos_in(source)]
    return source, [(file.as_posix(), file.parts[0]) for file in files if len(file.parts) > 1]


def select(labelled: LabelledSet, places: NDArray[np.int64], seed: int = 0) -> LabelledSet:
    """Return the photos at these places as a set of its own, with pairs drawn among them."""
    known, people = np.unique(labelled.people[places], return_inverse=True)
    people = people.astype(np.int64)
    names = [labelled.person_names[at] for at in known] if labelled.person_names else []
    images = [labelled.images[at] for at in places]
    return LabelledSet(
        labelled.folder, images, people, draw_pairs(people, seed), person_names=names
    )


def with_groups(labelled: LabelledSet, path: Path) -> LabelledSet:
    """Add the groups of a CSV `image,group`; raises LikenessError if it names no photo."""
    groups = {row[0]: row[1] for row in _rows(path, ("image", "group"))}
    found = [groups.get(image, "") for image in labelled.images]
    if not any(found):
        raise LikenessError(f"{path} names none of the photos; its paths start below the folder")
    return replace(labelled, groups=found)


def _rows(path: Path, fields: Sequence[str]) -> list[tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = set(fields) - set(reader.fieldnames or ())
        if missing:
            raise LikenessError(f"{path} has no column {', '.join(sorted(missing))}.")
        return [tuple(row[name] or "" for name in fields) for row in reader]


def _pairs(path: Path, index: dict[str, int]) -> list[tuple[int, int, bool]]:
    pairs = []
    for a, b, same in _rows(path, ("a", "b", "same")):
        if same.lower() not in ("0", "1", "false", "true"):
            raise LikenessError(f"{path} has {same!r} in `same`; 0 or 1 was expected.")
        if a not in index or b not in index:
            raise LikenessError(f"{path} names {a} and {b}, and people.csv not both of them.")
        pairs.append((index[a], index[b], same.lower() in ("1", "true")))
    return pairs


def _joined(count: int, links: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number what links join, directly or by way of others (union-find)."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for a, b in links:
        parent[root(a)] = root(b)
    _, people = np.unique([root(place) for place in range(count)], return_inverse=True)
    return people.astype(np.int64)


def _lfw_pair(words: Sequence[str], path: Path) -> tuple[tuple[str, int], tuple[str, int]]:
    match words:
        case [name, i, j] if i.isdigit() and j.isdigit():
            return (name, int(i)), (name, int(j))
        case [name, i, other, j] if i.isdigit() and j.isdigit():
            return (name, int(i)), (other, int(j))
    raise LikenessError(f"{path} has a line that is no pair: {' '.join(words)!r}.")


def _lfw_file(photos: Path, name: str, number: int) -> str:
    stem = f"{name}/{name}_{number:04d}"
    found = (f"{stem}{suffix}" for suffix in (".jpg", *sorted(PHOTO_SUFFIXES)))
    return next((file for file in found if (photos / file).is_file()), f"{stem}.jpg")


def draw_pairs(people: NDArray[np.int64], seed: int = 0) -> list[tuple[int, int, bool]]:
    """Draw as many pairs of one person as of two."""
    a, b = pair_places(people, seed=seed)
    random = np.random.default_rng(seed)
    same = people[a] == people[b]
    count = min(PAIRS_OF_A_KIND, int(same.sum()), int((~same).sum()))
    places = [random.choice(np.flatnonzero(kind), count, replace=False) for kind in (same, ~same)]
    return [(int(a[at]), int(b[at]), bool(same[at])) for at in np.concatenate(places)]
