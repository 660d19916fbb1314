"""Face verification with decisions that can be defended."""

from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from service.app import create_app
from service.cli.audit import audit_app
from service.cli.bundle import bundle_app
from service.cli.captures import cohort_app, train_quality
from service.cli.change import forget, reembed, switch
from service.cli.embed_folder import embed_folder
from service.cli.enroll import enroll, enroll_folder
from service.cli.evaluate import evaluate
from service.cli.keys import keys_app
from service.cli.local import connect
from service.cli.map import draw_map
from service.cli.master_key import master_key_app
from service.cli.names import names_app
from service.cli.terminal import EXIT_ERROR as EXIT_ERROR
from service.cli.terminal import Commands, File, Json, Url, finish, settings_from, show, show_json
from service.cli.train import train
from service.client.calls import DecisionOptions
from service.edge.server import serve as serve_app
from service.observe.logs import configure_logs
from service.observe.metrics import Metrics
from service.recognition.model_card import describe
from service.recognition.service import open_service
from service.schemas.admin import ModelAnswer
from service.schemas.recognition import VerifyAnswer
from service.store import place_of

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")

app = typer.Typer(
    cls=Commands,
    help=__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


EXIT_NO_MATCH, EXIT_INCONCLUSIVE = 1, 3
# What galleries and callers of earlier releases were used to.
_DEFAULT_BEFORE = "fmr_1e-3"


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    without_keys: Annotated[
        bool | None,
        typer.Option("--without-keys", help="Never ask for an API key."),
    ] = None,
) -> None:
    """Start the service; everything else is set by LIKENESS_* variables."""

    def announce(card: ModelAnswer, url: str) -> None:
        print_card(card)
        show(place_of(settings.store), title="store    ")
        pages = f"   pages: {url}/ui" if settings.ui else ""
        show(f"{url}   documentation: {url}/docs{pages}", title="listening")

    settings = settings_from(host=host, port=port, without_keys=without_keys)
    configure_logs(settings)
    raise typer.Exit(finish(serve_app(create_app(settings), settings, announce)))


@app.command()
def info(as_json: Json = False) -> None:
    """Show what would be served: bundle, device, precision, operating points."""

    async def look() -> ModelAnswer:
        settings = settings_from(store="sqlite:///:memory:")
        async with open_service(settings, Metrics()) as service:
            return describe(service, service.first)

    card = finish(look())
    if as_json:
        show_json(card.model_dump_json())
    else:
        print_card(card)


@app.command()
def verify(
    photo_a: File,
    photo_b: File,
    operating_point: Annotated[str | None, typer.Option(help="For example fmr_1e-4.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Decide whether two photos show one person.

    Exits with 0 for a match, 1 for none, 3 if it is inconclusive, 2 if it cannot be told.
    """

    async def ask() -> VerifyAnswer:
        async with connect(url, settings_from(store="sqlite:///:memory:")) as likeness:
            choice: DecisionOptions = (
                {} if operating_point is None else {"operating_point": operating_point}
            )
            return await likeness.verify_pair(photo_a, photo_b, **choice)

    result = finish(ask(), {"source_image": photo_a, "target_image": photo_b})
    if as_json:
        show_json(result.model_dump_json())
    else:
        show(result.explanation, title=result.decision.replace("_", " "))
    status = {"match": 0, "no_match": EXIT_NO_MATCH, "inconclusive": EXIT_INCONCLUSIVE}
    raise typer.Exit(status[result.decision])


def print_card(card: ModelAnswer) -> None:
    """Print the model card in a few lines."""
    show(f"{card.name}, {card.chosen_because}", title="bundle   ")
    show(
        f"{card.device}, {card.engine}, {card.precision}, detector {card.detector}, "
        f"batches of up to {card.batch.limit}",
        title="compute  ",
    )
    for point in card.operating_points:
        marks = [
            mark
            for mark, applies in (
                ("default", point.name == card.default_operating_point),
                ("extrapolated", point.extrapolated),
                ("kept from before", point.kept),
            )
            if applies
        ]
        fmr, fnmr = point.fmr, point.fnmr
        show(
            f"similarity {point.threshold:.3f}: "
            f"FMR {fmr.value:.4%} ({fmr.low:.4%} to {fmr.high:.4%}), "
            f"FNMR {fnmr.value:.1%} ({fnmr.low:.1%} to {fnmr.high:.1%})"
            + "".join(f", {mark}" for mark in marks),
            title=f"{point.name:9}",
        )
    if card.default_operating_point not in (None, _DEFAULT_BEFORE):
        show(
            f"Requests that name no point are decided at {card.default_operating_point} "
            f"({_DEFAULT_BEFORE} in earlier releases); LIKENESS_OPERATING_POINT sets it."
        )
    if not card.operating_points:
        show("/verify needs a threshold", title="no operating points")


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
