"""`likeness map`: see how the faces of a labelled folder, or of the gallery, cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import LikenessError
from service.terminal import Url, err, fail, finish, out, require, settings_from

if TYPE_CHECKING:
    from models.tsne import FaceMap


def draw_map(
    photos: Annotated[
        Path | None,
        typer.Argument(
            exists=True, file_okay=False, help="Photos, a folder per person; else the gallery."
        ),
    ] = None,
    url: Url = None,
    bundle: Annotated[
        str | None, typer.Option(help="Built-in name, directory or hub id; else as served.")
    ] = None,
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder for map.png and map.html.")
    ] = Path("map"),
) -> None:
    """Draw a map of faces, as a picture and as a page: of a labelled folder, or of the gallery.

    The gallery is that of the store in the settings, or of the service at --url.
    """
    require("matplotlib", "sklearn")
    from models.tsne import caption, draw_png, render

    try:
        made = map_of_gallery(url) if photos is None else map_of_folder(photos, bundle)
    except LikenessError as error:
        fail(error.sentence)
    out_folder.mkdir(parents=True, exist_ok=True)
    (out_folder / "map.png").write_bytes(draw_png(made))
    (out_folder / "map.html").write_text(render(made, photos))
    out.print(caption(made), soft_wrap=True)
    out.print(f"map  {out_folder / 'map.html'}", soft_wrap=True)


def map_of_folder(photos: Path, bundle: str | None) -> "FaceMap":
    """Map the photos that have a face, and say how many have none."""
    from rich.progress import Progress

    from models.bundle import load_bundle
    from models.embedded import embed
    from models.protocols import read_protocol
    from models.tsne import make_map

    labelled = read_protocol(photos)
    loaded = load_bundle(bundle, weights=settings_from().weights)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("embedding", total=len(labelled.images))
        embedded = embed(
            labelled, loaded, lambda done, of: progress.update(task, completed=done, total=of)
        )
    if embedded.rejected:
        err.print(f"{len(embedded.rejected):,} photos not used")
    places = embedded.enrolled.nonzero()[0]
    names = labelled.names()
    people, files = [names[at] for at in places], [labelled.images[at] for at in places]
    return make_map(embedded.vectors[places], people, files)


def map_of_gallery(url: str | None) -> "FaceMap":
    """Map the templates of the bundle that is served, and say how many are of others."""
    from models.tsne import MOST_POINTS, make_map
    from service.gallery_vectors import GalleryVectors, fetch_vectors
    from service.local import connect

    async def fetch() -> GalleryVectors:
        async with connect(url, settings_from()) as likeness:
            return await fetch_vectors(likeness, MOST_POINTS)

    gallery = finish(fetch())
    if gallery.others:
        err.print(f"{gallery.others:,} templates of other bundles are not on the map")
    return make_map(gallery.vectors, gallery.subjects, gallery.templates)
