"""`likeness info`: show the model card of what the service would use."""

from typing import TYPE_CHECKING

from service.cli.terminal import Json, finish, settings_from, show, show_json

if TYPE_CHECKING:
    from service.schemas.admin import ModelAnswer

# The default operating point of earlier releases.
_EARLIER_DEFAULT = "fmr_1e-3"


def info(as_json: Json = False) -> None:
    """Show the bundle, device, precision and operating points that the service would use."""

    async def describe_service() -> "ModelAnswer":
        settings = settings_from(store="sqlite:///:memory:")
        from service.observe.metrics import Metrics
        from service.recognition.model_card import describe
        from service.recognition.service import open_service

        async with open_service(settings, Metrics()) as service:
            return describe(service, service.first)

    card = finish(describe_service())
    if as_json:
        show_json(card.model_dump_json())
    else:
        print_card(card)


def print_card(card: "ModelAnswer") -> None:
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
    if card.default_operating_point not in (None, _EARLIER_DEFAULT):
        show(
            f"Requests that name no operating point use {card.default_operating_point} "
            f"({_EARLIER_DEFAULT} in earlier releases). LIKENESS_OPERATING_POINT changes it."
        )
    if not card.operating_points:
        show("/verify needs a threshold", title="no operating points")
