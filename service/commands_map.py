"""`likeness map`: see how the faces of a labelled folder cluster."""

from pathlib import Path
from typing import Annotated

import typer

from models.errors import LikenessError
from service.terminal import err, fail, out


def draw_map(
    photos: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="Photos, a folder per person."),
    ],
    bundle: Annotated[
        str | None, typer.Option(help="Built-in name, directory or hub id; else as served.")
    ] = None,
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder for map.png and map.html.")
    ] = Path("map"),
) -> None:
    """Draw a map of the faces in a labelled folder, as a picture and as a page."""
    from rich.progress import Progress

    from models.bundle import load_bundle
    from models.embedded import embed
    from models.protocols import read_protocol
    from models.tsne import caption, draw_png, make_map, render

    try:
        labelled = read_protocol(photos)
        loaded = load_bundle(bundle)
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task("embedding", total=len(labelled.images))
            embedded = embed(
                labelled, loaded, lambda done, of: progress.update(task, completed=done, total=of)
            )
        places = embedded.enrolled.nonzero()[0]
        names = labelled.names()
        made = make_map(
            embedded.vectors[places],
            [names[at] for at in places],
            [labelled.images[at] for at in places],
        )
    except LikenessError as error:
        fail(error.sentence)
    out_folder.mkdir(parents=True, exist_ok=True)
    (out_folder / "map.png").write_bytes(draw_png(made))
    (out_folder / "map.html").write_text(render(made, labelled.folder))
    rejected = f"; {len(embedded.rejected)} photos not used" if embedded.rejected else ""
    out.print(f"{caption(made)}{rejected}", soft_wrap=True)
    out.print(f"map  {out_folder / 'map.html'}", soft_wrap=True)
