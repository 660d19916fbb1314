"""Measure how photo quality affects errors: `python -m tests.tools.bench.quality DIR`.

`DIR` is a folder of labelled photos, as for `likeness evaluate`. The photos are processed as in
the service. Genuine comparisons with a photo that has an issue are compared with all others, at
the bundle's default operating point. `--worse` degrades one photo of every person with two or more
and compares it with the person's other photos, for issues that web photos rarely have.
"""

import argparse
import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from models.datasets.labelled import LabelledSet, read_protocol, select
from models.decision import Rule, rule_at
from models.evaluation.page import percent
from models.photo.quality import HARMFUL, Quality, QualityLimits, issues
from service.bulk.local import open_local
from service.pipeline.pipeline import Probe
from service.settings import load_settings
from tests.tools.bench.machine import describe_machine, markdown

CODES = ("small_face", "blurred", "dark", "overexposed", "flat", "tilted", "turned_away")
Picture = Image.Image


@dataclass(frozen=True, slots=True)
class EmbeddedPhotos:
    """Hold `n` embedded photos, with the number of the person on each and its quality."""

    files: list[Path]
    vectors: NDArray[np.float32]
    people: NDArray[np.int64]
    qualities: list[Quality]

    def having(self, limits: QualityLimits, code: str | None = None) -> NDArray[np.bool_]:
        """Mark the photos `(n,)` that have an issue `code`, or any issue."""
        codes_of = [{issue.code for issue in issues(each, limits)} for each in self.qualities]
        return np.array([bool(codes) if code is None else code in codes for codes in codes_of])


async def measure(files: Mapping[Path, int], bundle: str | None) -> tuple[EmbeddedPhotos, Rule]:
    """Embed photos, given the person on each; also return the bundle's default rule."""
    async with open_local(load_settings(bundle=bundle)) as bulk:
        made = [
            (result.file, result.outcome)
            async for result in bulk.probe_files(files, "largest")
            if isinstance(result.outcome, Probe)
        ]
        rule = rule_at(bulk.embedder.bundle.operating_points)
    embedded = EmbeddedPhotos(
        [file for file, _ in made],
        np.stack([probe.row.vector for _, probe in made]),
        np.array([files[file] for file, _ in made], np.int64),
        [probe.report.quality for _, probe in made],
    )
    return embedded, rule


def by_issue(photos: EmbeddedPhotos, rule: Rule) -> str:
    """Return the table of error rates of comparisons with and without an issue."""
    a, b = np.triu_indices(len(photos.people), 1)
    scores = (photos.vectors @ photos.vectors.T)[a, b]
    same, passed = photos.people[a] == photos.people[b], scores >= rule.threshold
    kinds = [(code, HARMFUL, f"{code}, refused") for code in CODES]
    kinds += [(code, QualityLimits(), f"{code}, advised") for code in CODES]
    rows = []
    for code, limits, title in [*kinds, (None, HARMFUL, "refused")]:
        marked = photos.having(limits, code)
        touched = marked[a] | marked[b]
        if not marked.any():
            continue
        rows.append(
            (
                title,
                f"{marked.mean():.2%}",
                rate(~passed[same & touched]),
                rate(~passed[same & ~touched]),
                f"{passed[~same & touched].mean():.2e}",
                f"{passed[~same & ~touched].mean():.2e}",
            )
        )
    head = ("photos", "share", "FNMR with one", "without", "FMR with one", "without")
    return markdown(f"Issues among {len(photos.people):,} photos", head, rows)


def rate(failed: NDArray[np.bool_]) -> str:
    return f"{percent(float(failed.mean()))} of {len(failed):,}" if len(failed) else "-"


def agreement(photos: EmbeddedPhotos, rule: Rule, seed: int = 0) -> str:
    """Return the table of how often a photo fits none of `k` photos of a subject."""
    random = np.random.default_rng(seed)
    scores = photos.vectors @ photos.vectors.T
    places = [np.flatnonzero(photos.people == person) for person in np.unique(photos.people)]
    rows = []
    for count in (1, 2, 4):
        own, others = [], []
        for theirs in places:
            for at in theirs if len(theirs) > count else ():
                held = random.choice(theirs[theirs != at], count, replace=False)
                own.append(scores[at, held].max() < rule.floor)
                stranger = random.choice(np.flatnonzero(photos.people != photos.people[at]))
                others.append(scores[stranger, held].max() < rule.floor)
        rows.append((str(count), rate(np.array(own, bool)), rate(~np.array(others, bool))))
    head = ("photos of the subject", "own photo refused", "stranger's photo accepted")
    return markdown("Consistency of photos under one subject", head, rows)


def brighter(image: Picture, by: float) -> Picture:
    return image.point(lambda value: min(255, round(value * by + 20 * (by - 1))))


def flatter(image: Picture, by: float) -> Picture:
    return image.point(lambda value: round((value - 128) * by + 128))


def blurrier(image: Picture, by: float) -> Picture:
    return image.filter(ImageFilter.GaussianBlur(by))


def smaller(image: Picture, by: float) -> Picture:
    return image.resize((round(image.width * by), round(image.height * by)))


def tilted(image: Picture, by: float) -> Picture:
    return image.rotate(by, Image.Resampling.BICUBIC)


def darker(image: Picture, by: float) -> Picture:
    return image.point(lambda value: round(value * by))


VARIANTS: tuple[tuple[str, Callable[[Picture, float], Picture], float], ...] = (
    *(("darker, times", darker, by) for by in (0.25, 0.15, 0.1)),
    *(("brighter, times", brighter, by) for by in (1.6, 2.2, 3.0)),
    *(("flatter, times", flatter, by) for by in (0.25, 0.15, 0.08)),
    *(("blurred, pixels", blurrier, by) for by in (1.5, 2.5, 4.0)),
    *(("smaller, times", smaller, by) for by in (0.45, 0.35)),
    *(("tilted, degrees", tilted, by) for by in (25.0, 40.0)),
)


def degraded_photos(
    labelled: LabelledSet, photos: EmbeddedPhotos, bundle: str | None, folder: Path
) -> str:
    """Return the table of errors of one degraded photo of every person."""
    _, first, count = np.unique(labelled.people, return_index=True, return_counts=True)
    originals = {labelled.folder / labelled.images[at]: at for at in first[count > 1]}
    files = {
        folder / f"{number}-{at}.jpg": (number, original)
        for number in range(len(VARIANTS))
        for original, at in originals.items()
    }
    for file, (number, original) in files.items():
        with Image.open(original) as image:
            _, degrade, amount = VARIANTS[number]
            degrade(image.convert("RGB"), amount).save(file, quality=92)
    people = {file: labelled.people[originals[original]] for file, (_, original) in files.items()}
    worse, rule = asyncio.run(measure(people, bundle))
    refused = worse.having(HARMFUL)
    others = np.array([file not in originals for file in photos.files])
    rows = []
    for number, (title, _, amount) in enumerate(VARIANTS):
        made = np.array([files[file][0] == number for file in worse.files])
        passed = worse.vectors[made] @ photos.vectors[others].T >= rule.threshold
        mated = worse.people[made][:, None] == photos.people[others]
        rows.append(
            (
                f"{title} {amount:g}",
                percent(1 - made.sum() / len(originals)),
                percent(float(refused[made].mean())),
                rate(~passed[mated & refused[made][:, None]]),
                rate(~passed[mated & ~refused[made][:, None]]),
            )
        )
    head = ("change", "no face", "refused", "FNMR of refused photos", "FNMR of accepted photos")
    return markdown(f"{len(originals)} degraded photos", head, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path, help="folder of labelled photos")
    parser.add_argument("--bundle", help="bundle to use (default: the service's)")
    parser.add_argument("--of-each", type=int, default=24, help="most photos of one person")
    parser.add_argument("--worse", action="store_true", help="also degrade photos")
    arguments = parser.parse_args()
    print(describe_machine(), end="\n\n")
    labelled = few_of_each(read_protocol(arguments.photos), arguments.of_each)
    files = {
        labelled.folder / image: int(person)
        for image, person in zip(labelled.images, labelled.people, strict=True)
    }
    photos, rule = asyncio.run(measure(files, arguments.bundle))
    print(by_issue(photos, rule), agreement(photos, rule), sep="\n\n")
    if arguments.worse:
        with TemporaryDirectory() as folder:
            print(f"\n{degraded_photos(labelled, photos, arguments.bundle, Path(folder))}")


def few_of_each(labelled: LabelledSet, most: int, seed: int = 0) -> LabelledSet:
    """Draw at most `most` photos of every person."""
    random = np.random.default_rng(seed)
    kept = [
        random.permutation(np.flatnonzero(labelled.people == person))[:most]
        for person in np.unique(labelled.people)
    ]
    return select(labelled, np.sort(np.concatenate(kept)))


if __name__ == "__main__":
    main()
