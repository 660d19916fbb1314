"""Face verification with measured error rates."""

from typing import Annotated

import typer

from service import __version__
from service.cli.audit import audit_app
from service.cli.bundle import bundle_app
from service.cli.change import forget, reembed, switch
from service.cli.cohort import cohort_app
from service.cli.embed_folder import embed_folder
from service.cli.enroll import enroll, enroll_folder
from service.cli.evaluate import evaluate
from service.cli.info import info
from service.cli.keys import keys_app
from service.cli.map import draw_map
from service.cli.master_key import master_key_app
from service.cli.names import names_app
from service.cli.serve import serve
from service.cli.terminal import EXIT_ERROR as EXIT_ERROR
from service.cli.terminal import Commands
from service.cli.train import train
from service.cli.train_quality import train_quality
from service.cli.verify import EXIT_NO_MATCH as EXIT_NO_MATCH
from service.cli.verify import verify

app = typer.Typer(
    cls=Commands,
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"likeness {__version__}")
        raise typer.Exit


@app.callback()
def likeness(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that come before a command."""


app.command()(serve)
app.command()(info)
app.command()(verify)
app.command()(enroll)
app.command("enroll-folder")(enroll_folder)
app.command("embed-folder")(embed_folder)
app.command()(evaluate)
app.command("map")(draw_map)
app.command()(train)
app.command()(reembed)
app.command()(switch)
app.command()(forget)
app.command("train-quality")(train_quality)
app.add_typer(bundle_app, name="bundle")
app.add_typer(cohort_app, name="cohort")
app.add_typer(keys_app, name="keys")
app.add_typer(names_app, name="names")
app.add_typer(audit_app, name="audit")
app.add_typer(master_key_app, name="master-key")
