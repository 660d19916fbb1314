"""`likeness verify`: decide whether two photos show the same person."""

from typing import Annotated

import typer

from service.cli.local import connect
from service.cli.terminal import File, Json, Url, finish, settings_from, show, show_json
from service.client.requests import DecisionOptions
from service.schemas.recognition import VerifyAnswer

EXIT_NO_MATCH, EXIT_INCONCLUSIVE = 1, 3


def verify(
    photo_a: File,
    photo_b: File,
    operating_point: Annotated[
        str | None, typer.Option(help="Operating point of the decision, such as fmr_1e-4.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Decide whether two photos show the same person.

    The exit status is 0 for a match, 1 for no match, 3 for an inconclusive result and 2 for an
    error.
    """

    async def ask() -> VerifyAnswer:
        async with connect(url, settings_from(store="sqlite:///:memory:")) as likeness:
            options: DecisionOptions = (
                {} if operating_point is None else {"operating_point": operating_point}
            )
            return await likeness.verify_pair(photo_a, photo_b, **options)

    answer = finish(ask(), {"source_image": photo_a, "target_image": photo_b})
    if as_json:
        show_json(answer.model_dump_json())
    else:
        show(answer.explanation, title=answer.decision.replace("_", " "))
    status = {"match": 0, "no_match": EXIT_NO_MATCH, "inconclusive": EXIT_INCONCLUSIVE}
    raise typer.Exit(status[answer.decision])
