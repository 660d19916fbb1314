"""Read labelled photos: the person on each, and which pairs to compare."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.datasets.folders import PHOTO_SUFFIXES, is_file, is_text
from models.datasets.names import remove_invisible
from models.datasets.people import describe_no_rows, list_people, path_below, rows_below
from models.datasets.tables import UNREADABLE, RejectedFile, Row, Table, read_table
from models.errors import LikenessError

# For a folder without a list of pairs, this many of each kind are drawn, as in LFW's View 2.
_PAIRS_OF_A_KIND = 3000
# A million comparisons of two people are enough for FMR 1e-4; more of the same people add little.
MOST_PAIRS = 5_000_000


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Hold the photos of a folder, the person on each, and the pairs to compare.

    `people` `(n,)` has the number of the person on each photo, from 0. `pairs` are the places of
    two photos, and whether they show one person. `folds` has the fold of every pair, or is empty.
    `groups` has the group of every photo, "" if unknown, or is empty. `complete` is False if only
    pairs are known: then two photos that are no pair may show one person. `person_names` are by
    number, or empty. `unusable` are files and rows with an error, `notes` are lines about what was
    skipped on purpose.
    """

    folder: Path
    images: list[str]
    people: NDArray[np.int64]
    pairs: list[tuple[int, int, bool]]
    folds: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    complete: bool = True
    person_names: list[str] = field(default_factory=list)
    unusable: list[RejectedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the name of the person on every photo, or the person's number without names."""
        return [self.person_names[at] if self.person_names else str(at) for at in self.people]


def read_protocol(photos: Path, pairs: Path | None = None, outside: bool = False) -> LabelledSet:
    """Read a folder of photos and its pairs: LFW's `pairs.txt`, a CSV `a,b,same`, or None.

    Without `pairs`, the folder's own `people.csv` and `pairs.csv` are read; if there are none,
    there is one folder per person. Photos that are listed but missing are left out and listed as
    unusable. Paths may lead out of the folder only if `outside` is True. Raises LikenessError.
    """
    labelled = photos / "people.csv"
    try:
        if pairs is None and not labelled.is_file():
            return read_folder(photos)
        if pairs is None:
            return _present(read_labelled(photos, outside), labelled)
        read = _read_lfw if pairs.suffix.lower() == ".txt" else _read_pairs
        return _present(read(pairs, photos, outside), pairs)
    except (OSError, UnicodeDecodeError) as exc:
        raise LikenessError(f"{pairs or photos} cannot be read: {exc}") from exc


def read_labelled(folder: Path, outside: bool = False) -> LabelledSet:
    """Read `people.csv` (image,person) and `pairs.csv` (a,b,same)."""
    table = read_table(folder / "people.csv", ("image", "person"))
    rows, unusable = rows_below(table, ("image",), folder, outside)
    if not rows:
        raise LikenessError(describe_no_rows(table, unusable))
    images = [row["image"] for row in rows]
    named = [remove_invisible(row["person"]) for row in rows]
    known, people = np.unique(named, return_inverse=True)
    index = {image: i for i, image in enumerate(images)}
    pairs_table = read_table(folder / "pairs.csv", ("a", "b", "same"))
    paired, wrong = rows_below(pairs_table, ("a", "b"), folder, outside)
    pairs, unmatched = _pairs(pairs_table, paired, index)
    unusable += [*wrong, *unmatched]
    if not pairs:
        raise LikenessError(describe_no_rows(pairs_table, [*wrong, *unmatched]))
    return LabelledSet(
        folder,
        images,
        people.astype(np.int64),
        pairs,
        person_names=known.tolist(),
        unusable=unusable,
    )


def _read_pairs(path: Path, photos: Path, outside: bool = False) -> LabelledSet:
    """Read a CSV `a,b,same` of files below `photos`; the pairs say which photos show one person."""
    table = read_table(path, ("a", "b", "same"))
    rows, unusable = rows_below(table, ("a", "b"), photos, outside)
    images = sorted({row[column] for row in rows for column in ("a", "b")})
    index = {image: i for i, image in enumerate(images)}
    pairs, wrong = _pairs(table, rows, index)
    unusable += wrong
    if not pairs:
        raise LikenessError(describe_no_rows(table, unusable))
    people = _joined(len(images), [(a, b) for a, b, same in pairs if same])
    contradictory = next((p for p in pairs if not p[2] and people[p[0]] == people[p[1]]), None)
    if contradictory is not None:
        raise LikenessError(
            f"{path} says that {images[contradictory[0]]} and {images[contradictory[1]]} show "
            "two people, but by its other pairs they show one."
        )
    return LabelledSet(photos, images, people, pairs, complete=False, unusable=unusable)


def _read_lfw(path: Path, photos: Path, outside: bool = False) -> LabelledSet:
    """Read a file in the format of LFW's `pairs.txt` and `pairsDevTest.txt`.

    The first line has the number of folds, if there are folds, and the number of pairs of each
    kind in a fold. A line `name i j` is a pair of one person, `name i other j` of two. Photo `i`
    of a person is `name/name_000i.jpg`.
    """
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    head, lines = (lines[0], lines[1:]) if lines else ([], [])
    if not head or not all(word.isdigit() for word in head) or len(head) > 2:
        raise LikenessError(f"{path} does not begin with the numbers of folds and pairs.")
    per_fold = 2 * int(head[-1])
    named = [_lfw_pair(line, path) for line in lines]
    if len(named) != per_fold * (int(head[0]) if len(head) == 2 else 1):
        raise LikenessError(f"{path} has {len(named)} pairs, another number than it says.")
    photographed = sorted({photo for pair in named for photo in pair})
    index = {photo: i for i, photo in enumerate(photographed)}
    known, people = np.unique([name for name, _ in photographed], return_inverse=True)
    pairs = [(index[a], index[b], a[0] == b[0]) for a, b in named]
    folds = [at // per_fold for at in range(len(pairs))] if len(head) == 2 else []
    images = [
        path_below(_lfw_file(photos, name, number), photos, outside)
        for name, number in photographed
    ]
    people = people.astype(np.int64)
    return LabelledSet(photos, images, people, pairs, folds, person_names=known.tolist())


def read_folder(folder: Path, seed: int = 0) -> LabelledSet:
    """Read a folder with one folder per person, and draw pairs: as many of one person as of two."""
    labelled = read_people(folder)
    return replace(labelled, pairs=_draw_pairs(labelled.people, seed))


def read_people(source: Path, outside: bool = False) -> LabelledSet:
    """Read the person on each photo, without pairs: one folder per person, or `path,identity`.

    Paths in such a CSV are relative to its own folder. Raises LikenessError.
    """
    listed = list_people(source, outside)
    texts = [(image, name) for image, name in listed.photos if is_text(image)]
    unusable = [
        RejectedFile(image, UNREADABLE, "The name of the file is not UTF-8.")
        for image, _ in listed.photos
        if not is_text(image)
    ]
    if len({name for _, name in texts}) < 2:
        raise LikenessError(
            f"{source} needs folders of photos, one per person, for at least two people; or give a "
            "CSV path,identity."
        )
    known, people = np.unique([name for _, name in texts], return_inverse=True)
    images = [image for image, _ in texts]
    return LabelledSet(
        listed.folder,
        images,
        people.astype(np.int64),
        [],
        person_names=known.tolist(),
        unusable=[*listed.unusable, *unusable],
        notes=listed.notes,
    )


def select(labelled: LabelledSet, places: NDArray[np.int64], seed: int = 0) -> LabelledSet:
    """Return a set of the photos at these places, with pairs drawn among them."""
    known, people = np.unique(labelled.people[places], return_inverse=True)
    people = people.astype(np.int64)
    names = [labelled.person_names[at] for at in known] if labelled.person_names else []
    images = [labelled.images[at] for at in places]
    return LabelledSet(
        labelled.folder, images, people, _draw_pairs(people, seed), person_names=names
    )


def with_groups(labelled: LabelledSet, path: Path) -> LabelledSet:
    """Add the groups of a CSV `image,group`; raises LikenessError if it names no photo of these."""
    table = read_table(path, ("image", "group"), ("image",))
    groups = {row["image"]: row["group"] for row in table.rows}
    found = [groups.get(image, "") for image in labelled.images]
    if not any(found):
        raise LikenessError(
            f"{path} names none of the photos; its paths must be relative to the folder, such as "
            f"{labelled.images[0]}"
        )
    return replace(labelled, groups=found, unusable=[*labelled.unusable, *table.unusable])


def _present(labelled: LabelledSet, named_by: Path) -> LabelledSet:
    """Leave out missing photos and their pairs, and list these photos as unusable.

    Raises LikenessError if no pair is left.
    """
    gone = [not is_file(labelled.folder / image) for image in labelled.images]
    if not any(gone):
        return labelled
    places = np.cumsum(~np.array(gone)) - 1
    kept = [at for at, (a, b, _) in enumerate(labelled.pairs) if not (gone[a] or gone[b])]
    missing = [image for image, is_gone in zip(labelled.images, gone, strict=True) if is_gone]
    if not kept:
        raise LikenessError(
            f"{named_by} names {len(gone):,} photos, of which {len(missing):,} are not below "
            f"{labelled.folder}, for example {labelled.folder / missing[0]}: name the folder that "
            "contains them."
        )
    unusable = [RejectedFile(image, UNREADABLE, "There is no such file.") for image in missing]
    pairs = [labelled.pairs[at] for at in kept]
    there = np.flatnonzero(~np.array(gone))
    known, people = np.unique(labelled.people[there], return_inverse=True)
    return replace(
        labelled,
        images=[labelled.images[at] for at in there],
        people=people.astype(np.int64),
        person_names=[labelled.person_names[at] for at in known] if labelled.person_names else [],
        pairs=[(int(places[a]), int(places[b]), same) for a, b, same in pairs],
        folds=[labelled.folds[at] for at in kept] if labelled.folds else [],
        unusable=[*labelled.unusable, *unusable],
    )


def _pairs(
    table: Table, rows: Sequence[Row], index: dict[str, int]
) -> tuple[list[tuple[int, int, bool]], list[RejectedFile]]:
    """Return the pairs of the rows by the places of their photos, and entries for bad rows."""
    pairs, unusable = [], []
    for row in rows:
        a, b, same = row["a"], row["b"], row["same"].lower()
        if same not in ("0", "1", "false", "true"):
            sentence = f"`same` is {row['same']!r}; 0 or 1 was expected."
            unusable.append(table.bad_row(row.number, sentence))
        elif a not in index or b not in index:
            sentence = f"It names {a} and {b}, but people.csv does not name both of them."
            unusable.append(table.bad_row(row.number, sentence))
        else:
            pairs.append((index[a], index[b], same in ("1", "true")))
    return pairs, unusable


def _joined(count: int, links: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number `count` places so that linked places get the same number (union-find)."""
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
    raise LikenessError(f"{path} has a line that is not a pair: {' '.join(words)!r}.")


def _lfw_file(photos: Path, name: str, number: int) -> str:
    stem = f"{name}/{name}_{number:04d}"
    found = (f"{stem}{suffix}" for suffix in _lfw_suffixes())
    return next((file for file in found if is_file(photos / file)), f"{stem}.jpg")


def _lfw_suffixes() -> Iterator[str]:
    for suffix in (".jpg", *sorted(PHOTO_SUFFIXES)):
        yield from (suffix, suffix.upper())


def _draw_pairs(people: NDArray[np.int64], seed: int = 0) -> list[tuple[int, int, bool]]:
    """Draw pairs: as many of one person as of two people."""
    a, b = pair_places(people, seed=seed)
    random = np.random.default_rng(seed)
    same = people[a] == people[b]
    count = min(_PAIRS_OF_A_KIND, int(same.sum()), int((~same).sum()))
    places = [random.choice(np.flatnonzero(kind), count, replace=False) for kind in (same, ~same)]
    return [(int(a[at]), int(b[at]), bool(same[at])) for at in np.concatenate(places)]


def pair_places(
    people: NDArray[np.int64], most: int = MOST_PAIRS, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places `(n,)` of the first and of the second photo of all pairs.

    If there are more than `most`, up to half of the result are pairs of one person, and the others
    are drawn at random.
    """
    count = len(people)
    if count * (count - 1) // 2 <= most:
        a, b = np.triu_indices(count, 1)
        return a.astype(np.int64), b.astype(np.int64)
    random = np.random.default_rng(seed)
    genuine = _genuine_keys(people)
    if len(genuine) > most // 2:
        genuine = random.choice(genuine, most // 2, replace=False)
    drawn = random.integers(0, count, (2, most - len(genuine)))
    strangers = people[drawn[0]] != people[drawn[1]]
    keys = np.min(drawn[:, strangers], 0) * count + np.max(drawn[:, strangers], 0)
    keys = np.unique(np.concatenate([genuine, keys]))
    return keys // count, keys % count


def _genuine_keys(people: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `a * n + b` for every pair of photos of one person, `a < b`."""
    order = np.argsort(people, kind="stable")
    keys = [
        places[a] * len(people) + places[b]
        for places in np.split(order, np.flatnonzero(np.diff(people[order])) + 1)
        for a, b in [np.triu_indices(len(places), 1)]
    ]
    return np.concatenate(keys).astype(np.int64)
