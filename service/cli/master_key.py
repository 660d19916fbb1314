"""`likeness master-key`: make one, and move what is stored to it."""

import typer

from service.cli.local import connect
from service.cli.terminal import Url, finish, settings_from, show
from service.client.call import Call, parse_as
from service.schemas.admin import ResealedAnswer
from service.store.master_keys import new_master_key

master_key_app = typer.Typer(
    no_args_is_help=True, help="Make a master key of template protection, and rotate to it."
)


@master_key_app.command()
def new() -> None:
    """Print a new master key. Keep it safe: without it nothing that it sealed can be opened."""
    show(new_master_key())


@master_key_app.command()
def rotate(url: Url = None) -> None:
    """Wrap every subject's key by the newest master key, and seal what is stored in clear.

    Give the new key first, before the old one, to every replica; then run this; then take the
    old one away. The service serves meanwhile, and the same command goes on where it was
    stopped.
    """

    async def work() -> ResealedAnswer:
        rewrapped = sealed = 0
        async with connect(url, settings_from()) as likeness:
            while True:
                done = await likeness.ask(Call("POST", "/reseal", parse_as(ResealedAnswer)))
                rewrapped, sealed = rewrapped + done.rewrapped, sealed + done.sealed
                if not done.left:
                    return ResealedAnswer(rewrapped=rewrapped, sealed=sealed, left=0)

    done = finish(work())
    show(f"{done.rewrapped:,} keys wrapped anew, {done.sealed:,} subjects sealed, 0 left")
