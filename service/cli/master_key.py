"""`likeness master-key`: make a master key, and rotate to it."""

import typer

from service.cli.local import connect_store
from service.cli.terminal import Url, finish, settings_from, show
from service.schemas.admin import ResealedAnswer

master_key_app = typer.Typer(
    no_args_is_help=True, help="Make a master key for template protection, and rotate to it."
)


@master_key_app.command()
def new() -> None:
    """Print a new master key. Keep it safe: what it seals cannot be opened without it."""
    from service.store.master_keys import new_master_key

    show(new_master_key())


@master_key_app.command()
def rotate(url: Url = None) -> None:
    """Wrap the key of every subject with the newest master key, and seal what is not sealed yet.

    First give the new key to every replica, before the old one in the list. Then run this
    command. Then remove the old key. The service keeps running meanwhile. If the command is
    stopped, run it again: it continues.
    """

    async def work() -> ResealedAnswer:
        rewrapped = sealed = 0
        async with connect_store(url, settings_from()) as likeness:
            while True:
                step = await likeness.ask("POST", "/reseal", ResealedAnswer)
                rewrapped, sealed = rewrapped + step.rewrapped, sealed + step.sealed
                if not step.left:
                    return ResealedAnswer(rewrapped=rewrapped, sealed=sealed, left=0)

    total = finish(work())
    show(f"{total.rewrapped:,} keys wrapped anew, {total.sealed:,} subjects sealed, 0 left")
