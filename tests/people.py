"""Invented people: two public-domain portraits, stretched and tinted into many."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from tests.photos import Name, jpeg, open_photo

PEOPLE, PHOTOS = 12, 4


def write_people(
    folder: Path, people: int = PEOPLE, photos: int = PHOTOS, seed: int = 0, spread: float = 0.55
) -> Path:
    """Write a folder per person, `p00/0.jpg` and so on, in which faces are found.

    Photos of one person differ in light and framing; people differ in width and, by `spread`,
    in tint.
    """
    random = np.random.default_rng(seed)
    for person in range(people):
        name: Name = "grace" if person % 2 else "astronaut"
        tint = random.uniform(1 - spread, 1.0, 3)
        width = int(random.uniform(230, 330))
        portrait = open_photo(name).resize((width, 300))
        (folder / f"p{person:02}").mkdir(parents=True)
        for photo in range(photos):
            light = random.uniform(0.75, 1.0)
            pixels = (np.asarray(portrait) * tint * light).astype(np.uint8)
            left, top = random.integers(0, 8, 2)
            taken = Image.fromarray(pixels[top:, left:])
            (folder / f"p{person:02}" / f"{photo}.jpg").write_bytes(jpeg(taken))
    return folder


def write_list(folder: Path, path: Path) -> Path:
    """Write the CSV `path,identity` of such a folder, beside it."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "identity"))
        for photo in sorted(folder.rglob("*.jpg")):
            writer.writerow((photo.relative_to(path.parent).as_posix(), photo.parent.name))
    return path
