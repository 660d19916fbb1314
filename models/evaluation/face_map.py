"""Draw a map of face vectors and measure how well people separate."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import LikenessError
from models.evaluation.page import load_template

# With more points, t-SNE takes minutes and the points cover each other.
MOST_POINTS = 5000
_FEW = 10
_NAMED = 20

Method = Literal["t-SNE", "principal components"]


@dataclass(frozen=True, slots=True)
class FaceMap:
    """Hold `points` `(n, 2)` float32, and the person and file of each.

    `silhouette`, -1 to 1, says how much nearer a vector is to the vectors of its own person
    than to those of the nearest other person (Rousseeuw 1987). It is computed from the cosines
    of the vectors, not from the map. None if fewer than two people have two photos.
    """

    points: NDArray[np.float32]
    people: list[str]
    files: list[str]
    silhouette: float | None
    method: Method


def make_map(
    vectors: NDArray[np.float32], people: Sequence[str], files: Sequence[str], seed: int = 0
) -> FaceMap:
    """Lay out unit vectors `(n, d)` on a map.

    The same vectors always give the same map. Of more than MOST_POINTS vectors, MOST_POINTS are
    drawn at random. Raises LikenessError if there are fewer than 4.
    """
    if len(vectors) < 4:
        raise LikenessError(f"A map needs at least four faces; there are {len(vectors)}.")
    if len(vectors) > MOST_POINTS:
        kept = np.random.default_rng(seed).choice(len(vectors), MOST_POINTS, replace=False)
        kept.sort()
        vectors = vectors[kept]
        people, files = [people[at] for at in kept], [files[at] for at in kept]
    layout = lay_out(vectors)
    score = silhouette(vectors, people)
    return FaceMap(layout.points, list(people), list(files), score, layout.method)


@dataclass(frozen=True, slots=True)
class Layout:
    """Hold `points` `(n, 2)` float32; `complete` is false if scikit-learn was missing."""

    points: NDArray[np.float32]
    method: Method
    complete: bool = True


def lay_out(vectors: NDArray[np.float32]) -> Layout:
    """Lay out unit vectors `(n, d)` by t-SNE over cosines (van der Maaten and Hinton 2008).

    Fewer than 10 vectors, or all without scikit-learn, are placed by their principal components.
    The same vectors always give the same map.
    """
    points = _principal(vectors)
    if len(vectors) < _FEW:
        return Layout(points, "principal components")
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError:
        return Layout(points, "principal components", complete=False)
    points *= 1e-4 / max(points.std(), 1e-12)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    # Threads that wait for busy cores make it many times slower, and their sums differ.
    with threadpool_limits(1, "openmp"):
        placed = TSNE(metric="cosine", init=points, perplexity=perplexity).fit_transform(vectors)
    return Layout(np.asarray(placed, np.float32), "t-SNE")


def _principal(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first two principal components, `(n, 2)`."""
    centred = vectors - vectors.sum(axis=0) / max(len(vectors), 1)
    # Thousands of vectors have far fewer dimensions, so this is faster than decomposing them.
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ axes[:, :-3:-1], np.float32)


def silhouette(vectors: NDArray[np.float32], people: Sequence[str]) -> float | None:
    """Return the mean silhouette of the people with two or more photos, or None."""
    from sklearn.metrics import silhouette_score

    _, numbers, counts = np.unique(np.array(people), return_inverse=True, return_counts=True)
    kept = counts[numbers] > 1
    if len(np.unique(numbers[kept])) < 2:
        return None
    return float(silhouette_score(vectors[kept], numbers[kept], metric="cosine"))


def draw_png(face_map: FaceMap) -> bytes:
    """Draw the map as a PNG, with the names of the people with the most photos."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.add_subplot()
    names, numbers = np.unique(face_map.people, return_inverse=True)
    colours = np.array([_rgb(number) for number in range(len(names))])
    axes.scatter(
        face_map.points[:, 0], face_map.points[:, 1], c=colours[numbers], s=14, linewidths=0
    )
    for number in np.argsort(-np.bincount(numbers), kind="stable")[:_NAMED]:
        centre = np.median(face_map.points[numbers == number], axis=0)
        axes.annotate(names[number], centre, fontsize=7, ha="center", parse_math=False)
    axes.set_title(caption(face_map), fontsize=10)
    axes.set_axis_off()
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    return stream.getvalue()


def caption(face_map: FaceMap) -> str:
    """Return one line that says what the map shows."""
    counts = f"{len(face_map.files):,} faces of {len(set(face_map.people)):,} people"
    if face_map.silhouette is None:
        return f"{counts}; no silhouette: it needs two people with two photos each"
    return f"{counts}, silhouette {face_map.silhouette:.3f}"


def render(face_map: FaceMap, folder: Path | None = None) -> str:
    """Return the map as one HTML page without other files.

    The reader can drag, zoom, search, and point at a face to see its name. If `folder`, where
    the photos are, is given, a click on a face opens its photo.
    """
    names = sorted(set(face_map.people))
    number = {name: at for at, name in enumerate(names)}
    data = {
        "points": np.round(face_map.points.astype(float), 2).tolist(),
        "people": [number[name] for name in face_map.people],
        "names": names,
        "files": face_map.files,
        "colours": [_css(at) for at in range(len(names))],
        "links": [(folder / f).absolute().as_uri() for f in face_map.files] if folder else [],
    }
    return load_template("map.html.j2").render(
        caption=caption(face_map), method=face_map.method, data=data
    )


def _hue(number: int) -> float:
    return (number * 0.618034) % 1  # the golden ratio gives neighbouring numbers different hues


def _rgb(number: int) -> tuple[float, float, float]:
    from matplotlib.colors import hsv_to_rgb

    red, green, blue = hsv_to_rgb((_hue(number), 0.65, 0.5 + 0.35 * (number % 3) / 2))
    return float(red), float(green), float(blue)


def _css(number: int) -> str:
    return f"hsl({360 * _hue(number):.0f} 60% {32 + 12 * (number % 3)}%)"
