"""Draw a map of face vectors (t-SNE) and measure how well people separate."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import LikenessError

# With more points, t-SNE takes minutes and the points cover each other.
MOST_POINTS = 5000
_NAMED = 20


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


def make_map(
    vectors: NDArray[np.float32], people: Sequence[str], files: Sequence[str], seed: int = 0
) -> FaceMap:
    """Lay out unit vectors `(n, d)` on a map.

    The same vectors always give the same map. Of more than MOST_POINTS vectors, MOST_POINTS are
    drawn at random. Raises LikenessError if there are fewer than 4.
    """
    from sklearn.manifold import TSNE

    if len(vectors) < 4:
        raise LikenessError(f"A map needs at least four faces; there are {len(vectors)}.")
    if len(vectors) > MOST_POINTS:
        kept = np.random.default_rng(seed).choice(len(vectors), MOST_POINTS, replace=False)
        kept.sort()
        vectors = vectors[kept]
        people, files = [people[at] for at in kept], [files[at] for at in kept]
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    layout = TSNE(metric="cosine", init="random", perplexity=perplexity, random_state=seed)
    points = np.asarray(layout.fit_transform(vectors), np.float32)
    return FaceMap(points, list(people), list(files), silhouette(vectors, people))


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
    # A name that contains `</script>` must not end the script.
    text = json.dumps(data).replace("<", "\\u003c")
    return PAGE.replace("CAPTION", escape(caption(face_map))).replace("DATA", text)


def _hue(number: int) -> float:
    return (number * 0.618034) % 1  # the golden ratio gives neighbouring numbers different hues


def _rgb(number: int) -> tuple[float, float, float]:
    from matplotlib.colors import hsv_to_rgb

    red, green, blue = hsv_to_rgb((_hue(number), 0.65, 0.5 + 0.35 * (number % 3) / 2))
    return float(red), float(green), float(blue)


def _css(number: int) -> str:
    return f"hsl({360 * _hue(number):.0f} 60% {32 + 12 * (number % 3)}%)"


PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Map of faces</title>
<style>
body { margin: 0; font: 14px system-ui, sans-serif; color: #0f172a; overflow: hidden }
header { position: absolute; padding: .7rem 1rem; background: #fffc }
#tip { position: absolute; pointer-events: none; background: #0f172a; color: #fff;
  padding: .25rem .5rem; border-radius: .25rem; display: none }
input { margin-left: 1rem; font: inherit } canvas { display: block; cursor: grab }
</style></head><body>
<header><b>CAPTION</b><input id="search" placeholder="Find a person" aria-label="Find a person">
</header><div id="tip"></div><canvas id="map"></canvas>
<script>
const data = DATA;
const canvas = document.getElementById("map"), tip = document.getElementById("tip");
const search = document.getElementById("search"), ink = canvas.getContext("2d");
const xs = data.points.map(p => p[0]), ys = data.points.map(p => p[1]);
const low = [Math.min(...xs), Math.min(...ys)], high = [Math.max(...xs), Math.max(...ys)];
let scale = 1, x0 = 0, y0 = 0, held = null, near = -1, moved = false;
function fit() {
  canvas.width = innerWidth; canvas.height = innerHeight;
  const width = high[0] - low[0] || 1, height = high[1] - low[1] || 1;
  scale = 0.86 * Math.min(innerWidth / width, innerHeight / height);
  x0 = innerWidth / 2 - scale * (low[0] + high[0]) / 2;
  y0 = innerHeight / 2 + scale * (low[1] + high[1]) / 2;
  draw();
}
function at(i) { return [x0 + scale * xs[i], y0 - scale * ys[i]]; }
function draw() {
  ink.clearRect(0, 0, canvas.width, canvas.height);
  const wanted = search.value.toLowerCase(), person = near < 0 ? -1 : data.people[near];
  for (let i = 0; i < xs.length; i++) {
    const [x, y] = at(i), owner = data.people[i];
    const found = !wanted || data.names[owner].toLowerCase().includes(wanted);
    ink.globalAlpha = !found || (person >= 0 && owner !== person) ? 0.12 : 0.9;
    ink.fillStyle = data.colours[owner];
    ink.beginPath(); ink.arc(x, y, owner === person ? 6 : 4, 0, 7); ink.fill();
  }
}
function nearest(x, y) {
  let best = -1, least = 100;
  for (let i = 0; i < xs.length; i++) {
    const [px, py] = at(i), d = (px - x) ** 2 + (py - y) ** 2;
    if (d < least) { least = d; best = i; }
  }
  return best;
}
canvas.onpointerdown = e => { held = [e.clientX - x0, e.clientY - y0]; moved = false; };
onpointerup = () => { held = null; };
canvas.onpointermove = e => {
  if (held) { x0 = e.clientX - held[0]; y0 = e.clientY - held[1]; moved = true; draw(); return; }
  const now = nearest(e.clientX, e.clientY);
  tip.style.display = now < 0 ? "none" : "block";
  if (now >= 0) {
    tip.textContent = data.names[data.people[now]] + ": " + data.files[now];
    tip.style.left = e.clientX + 12 + "px"; tip.style.top = e.clientY + 12 + "px";
  }
  if (now !== near) { near = now; draw(); }
};
canvas.onclick = () => { if (!moved && near >= 0 && data.links.length) open(data.links[near]); };
canvas.addEventListener("wheel", e => {
  e.preventDefault();
  const by = Math.exp(-e.deltaY / 500);
  x0 = e.clientX - by * (e.clientX - x0); y0 = e.clientY - by * (e.clientY - y0);
  scale *= by; draw();
}, { passive: false });
search.oninput = draw; onresize = fit; fit();
</script></body></html>
"""
