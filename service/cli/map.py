"""`likeness map`: draw how the faces of a folder, or of the gallery, cluster."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.local import connect
from service.cli.terminal import (
    BundleName,
    Outside,
    Url,
    bar,
    check_folder,
    err,
    exit_status,
    finish,
    print_left_out,
    require,
    settings_from,
    show,
)
from service.client.aio import AsyncLikeness
from service.client.errors import NotFound
from service.schemas.gallery import SubjectSummaryAnswer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.datasets.labelled import LabelledSet
    from models.evaluation.face_map import FaceMap


def draw_map(
    photos: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            file_okay=False,
            help="Photos, one folder per person. Default: the gallery.",
        ),
    ] = None,
    url: Url = None,
    bundle: BundleName = None,
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder for map.png and map.html.")
    ] = Path("map"),
    outside: Outside = False,
) -> None:
    """Draw a map of faces, as a picture and as a web page.

    The faces are those of a folder, or those of the gallery: the store of the settings, or the
    service at --url.
    """
    require("matplotlib", "sklearn")
    check_folder(out_folder)
    from models.datasets.labelled import read_protocol
    from models.evaluation.face_map import caption, draw_png, render

    labelled = None if photos is None else read_protocol(photos, outside=outside)
    face_map = map_of_gallery(url) if labelled is None else map_of_folder(labelled, bundle)
    out_folder.mkdir(parents=True, exist_ok=True)
    (out_folder / "map.png").write_bytes(draw_png(face_map))
    (out_folder / "map.html").write_text(render(face_map, photos), "utf-8")
    show(caption(face_map))
    show(f"map  {out_folder / 'map.html'}")
    if labelled is not None:
        print_left_out(labelled.unusable, labelled.notes)
        exit_status(labelled.unusable)


def map_of_folder(labelled: "LabelledSet", bundle: str | None) -> "FaceMap":
    """Map the photos that have a face, and print how many have none."""
    from models.bundle import load_bundle
    from models.datasets.features import embed
    from models.evaluation.face_map import make_map

    loaded = load_bundle(bundle, weights=settings_from().weights)
    with bar("embedding") as progress:
        embedded = embed(labelled, loaded, progress)
    if embedded.rejected:
        show(f"{len(embedded.rejected):,} photos not used", to=err)
    places = embedded.enrolled.nonzero()[0]
    names = labelled.names()
    people, files = [names[at] for at in places], [labelled.images[at] for at in places]
    return make_map(embedded.vectors[places], people, files)


def map_of_gallery(url: str | None) -> "FaceMap":
    """Map the templates of the bundle that is served, and print how many are of other bundles."""
    from models.evaluation.face_map import MOST_POINTS, make_map

    async def fetch() -> GalleryVectors:
        async with connect(url, settings_from()) as likeness:
            return await fetch_vectors(likeness, MOST_POINTS)

    gallery = finish(fetch())
    if gallery.others:
        show(f"{gallery.others:,} templates of other bundles are not on the map", to=err)
    return make_map(gallery.vectors, gallery.subjects, gallery.templates)


@dataclass(frozen=True, slots=True)
class GalleryVectors:
    """Hold unit vectors `(n, d)` of one bundle, and the subject and template of each.

    `others` counts the templates of other bundles, which cannot be on the same map.
    """

    vectors: "NDArray[np.float32]"
    subjects: list[str]
    templates: list[str]
    others: int


async def fetch_vectors(likeness: AsyncLikeness, most: int, seed: int = 0) -> GalleryVectors:
    """Fetch the templates of all subjects, or of random subjects until there are `most`.

    Raises Refused and TransportError.
    """
    import numpy as np

    served = (await likeness.model()).fingerprint
    summaries = [subject async for subject in likeness.subjects()]
    vectors: list[list[float]] = []
    subjects: list[str] = []
    templates: list[str] = []
    others = 0
    for subject in _random_subjects(summaries, most, seed):
        try:
            export = await likeness.export(subject)
        except NotFound:
            continue  # deleted since it was listed
        for template in export.templates:
            if template.fingerprint != served:
                others += 1
                continue
            vectors.append(template.vector)
            subjects.append(subject)
            templates.append(template.template_id)
    return GalleryVectors(np.array(vectors, np.float32), subjects, templates, others)


def _random_subjects(subjects: list[SubjectSummaryAnswer], most: int, seed: int) -> list[str]:
    """Return random subjects with `most` templates, or a few more, since subjects stay whole."""
    order = random.Random(seed).sample(subjects, len(subjects))
    kept, count = [], 0
    for subject in order:
        if count >= most:
            break
        kept.append(subject.subject)
        count += subject.templates
    return sorted(kept)
