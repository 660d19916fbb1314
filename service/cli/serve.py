"""`likeness serve`: start the service."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.info import print_card
from service.cli.terminal import finish, settings_from, show

if TYPE_CHECKING:
    from service.recognition.service import Service


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    without_keys: Annotated[
        bool | None,
        typer.Option("--without-keys", help="Never ask for an API key."),
    ] = None,
) -> None:
    """Start the service. LIKENESS_* variables set everything else."""
    settings = settings_from(host=host, port=port, without_keys=without_keys)
    from service.app import create_app
    from service.edge import server
    from service.observe.logs import configure_logs
    from service.recognition.model_card import describe
    from service.store import place_of

    async def announce(url: str) -> Callable[[], None]:
        opened: Service = app.state.service
        card = describe(opened, await opened.active())
        pages = f"   pages: {url}/ui" if settings.ui else ""

        def print_all() -> None:
            print_card(card)
            show(place_of(settings.store), title="store    ")
            show(f"{url}   documentation: {url}/docs{pages}", title="listening")

        return print_all

    configure_logs(settings)
    app = create_app(settings)
    raise typer.Exit(finish(server.serve(app, settings, announce)))
