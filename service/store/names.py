"""Names of earlier releases, put into the one form that `as_id` gives to new ones."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

from models.datasets.names import as_id, as_name, remove_invisible
from service.store.records import OddName

logger = logging.getLogger("likeness")

MOST_OF_A_KEY: Final = 128


def plain_form(name: str) -> str | None:
    """Return what a name of an earlier release is to be now, None if that is no name."""
    try:
        return as_id(remove_invisible(name))
    except ValueError:
        return None


def plain_key_name(name: str) -> str:
    """Return what the name of an API key is to be now; names of keys need not differ."""
    try:
        return as_name(remove_invisible(name), MOST_OF_A_KEY)
    except ValueError:
        return name


def is_odd(name: str) -> bool:
    """Tell whether a name is none that could be given now."""
    return plain_form(name) != name


def new_names(odd: Sequence[str]) -> dict[str, str]:
    """Return the new name of each that can have one: no two of them become one."""
    forms = {name: plain_form(name) for name in odd if is_odd(name)}
    times = Counter(forms.values())
    return {name: form for name, form in forms.items() if form is not None and times[form] == 1}


def odd_name(subject: str) -> OddName:
    """Say of a name that is marked what it would be, and why it is not."""
    try:
        name = as_id(remove_invisible(subject))
    except ValueError as exc:
        return OddName(subject, None, f"{exc}.")
    return OddName(subject, name, "Another subject has this name, or would get it too.")


def log_left(left: int) -> None:
    """Say how many subjects keep a name that could not be given now, if any do."""
    if left:
        logger.warning(
            "%d subjects keep names of an earlier release, which look like another's or cannot "
            "be seen; `likeness names` lists them. Rename them.",
            left,
        )
