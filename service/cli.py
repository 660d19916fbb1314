"""Face verification with decisions that can be defended."""

import asyncio
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import httpx
import typer
from pydantic import BaseModel
from rich.progress import Progress

from models.errors import LikenessError
from service.answers import EnrollAnswer, EnrolledImage, VerifyAnswer
from service.app import create_app
from service.commands_evaluate import evaluate
from service.commands_map import draw_map
from service.commands_train import train
from service.health_routes import describe
from service.local import connect
from service.metrics import Metrics
from service.model_answers import ModelAnswer
from service.problems import Problem
from service.serve import serve as serve_app
from service.service import open_service
from service.settings import Settings, load_settings
from service.terminal import EXIT_ERROR as EXIT_ERROR
from service.terminal import err, fail, out

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[str | None, typer.Option(help="Ask the service at this URL, not this process.")]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]

EXIT_NO_MATCH, EXIT_INCONCLUSIVE = 1, 3


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    without_keys: Annotated[
        bool | None,
        typer.Option("--without-keys", help="Listen beyond loopback though no key is asked for."),
    ] = None,
) -> None:
    """Start the service; everything else is set by LIKENESS_* variables."""

    def announce(card: ModelAnswer, url: str) -> None:
        print_card(card)
        out.print(f"[bold]listening[/]  {url}   documentation: {url}/docs", soft_wrap=True)

    settings = settings_from(host=host, port=port, without_keys=without_keys)
    configure_logs(settings)
    raise typer.Exit(finish(serve_app(create_app(settings), settings, announce)))


@app.command()
def info(as_json: Json = False) -> None:
    """Show what would be served: bundle, device, precision, operating points."""

    async def look() -> ModelAnswer:
        settings = settings_from(store="sqlite:///:memory:")
        async with open_service(settings, Metrics()) as service:
            return describe(service)

    card = finish(look())
    if as_json:
        out.print_json(card.model_dump_json())
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
        async with connect(url, settings_from(store="sqlite:///:memory:")) as client:
            files = {"source_image": photo_a.read_bytes(), "target_image": photo_b.read_bytes()}
            data = {} if operating_point is None else {"operating_point": operating_point}
            return answer(await client.post("/verify", files=files, data=data), VerifyAnswer)

    result = finish(ask())
    if as_json:
        out.print_json(result.model_dump_json())
    else:
        out.print(f"[bold]{result.decision.replace('_', ' ')}[/]  {result.explanation}")
    status = {"match": 0, "no_match": EXIT_NO_MATCH, "inconclusive": EXIT_INCONCLUSIVE}
    raise typer.Exit(status[result.decision])


@app.command()
def enroll(subject: str, files: list[File], url: Url = None, as_json: Json = False) -> None:
    """Enrol photos of one subject, in the store of the settings or at a service."""

    async def send() -> list[EnrolledImage]:
        images: list[EnrolledImage] = []
        with Progress(console=err, transient=True) as progress:
            task = progress.add_task("enrolling", total=len(files))
            async with connect(url, settings_from()) as client:
                for file in files:
                    images += await enroll_one(client, subject, file.read_bytes(), len(images))
                    progress.advance(task)
        return images

    images = finish(send())
    if as_json:
        out.print_json(data=[image.model_dump(mode="json") for image in images])
    else:
        for file, image in zip(files, images, strict=True):
            reason = "" if image.problem is None else f"  {image.problem.detail}"
            out.print(f"{image.status.replace('_', ' '):17}{file}{reason}", soft_wrap=True)
    if any(image.status == "failed" for image in images):
        raise typer.Exit(EXIT_ERROR)


async def enroll_one(
    client: httpx.AsyncClient, subject: str, photo: bytes, position: int
) -> list[EnrolledImage]:
    """Send one photo; what is wrong with it is an outcome, what is wrong elsewhere is raised."""
    response = await client.post("/enroll", data={"subject": subject}, files={"image": photo})
    try:
        images = answer(response, EnrollAnswer).images
    except Refused as refused:
        if refused.problem.status not in (413, 415, 422):
            raise
        return [EnrolledImage.refused(position, refused.problem)]
    return [image.model_copy(update={"image": position}) for image in images]


class Refused(Exception):
    """Carry the problem a service answered with."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def answer(response: httpx.Response, model: type[T]) -> T:
    """Read an answer; raises Refused with the problem if it is none."""
    if response.is_success:
        return model.model_validate_json(response.content)
    raise Refused(Problem.model_validate_json(response.content))


def configure_logs(settings: Settings) -> None:
    """Write logs to standard error; what uvicorn says at each start is said better above."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def settings_from(**overrides: object) -> Settings:
    """Read the settings, or say what is wrong with them and exit."""
    try:
        return load_settings(**overrides)
    except LikenessError as error:
        fail(error.sentence)


def finish(work: Coroutine[None, None, R]) -> R:
    """Run to the end; an error of ours or of the connection is one line, not a traceback."""
    try:
        return asyncio.run(work)
    except Refused as refused:
        fail(" ".join(filter(None, (refused.problem.detail, refused.problem.advice))))
    except LikenessError as error:
        fail(" ".join(filter(None, (error.sentence, error.advice))))
    except httpx.TransportError as error:
        fail(f"The service does not answer: {error}")


def print_card(card: ModelAnswer) -> None:
    """Print the model card in a few lines."""
    out.print(f"[bold]bundle[/]     {card.name}, {card.chosen_because}", soft_wrap=True)
    out.print(f"[bold]compute[/]    {card.device}, {card.precision}, detector {card.detector}, "
              f"batches of up to {card.batch.limit}", soft_wrap=True)  # fmt: skip
    for point in card.operating_points:
        marker = " (default)" if point.name == card.default_operating_point else ""
        out.print(
            f"[bold]{point.name:10}[/] similarity {point.threshold:.3f}: "
            f"FMR {point.fmr.value:.4%}, FNMR {point.fnmr.value:.1%}{marker}"
        )
    if not card.operating_points:
        out.print("[bold]no operating points[/]: /verify needs a threshold")


app.command()(evaluate)
app.command("map")(draw_map)
app.command()(train)

if __name__ == "__main__":
    app()
