"""Subject names of earlier releases: put them into the form that `as_id` gives to new names."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

from models.datasets.names import as_id, as_name, remove_invisible
from service.store.records import OddName

logger = logging.getLogger("likeness")

MOST_OF_A_KEY: Final = 128


def plain_form(name: str) -> str | None:
    """Return the current form of a name of an earlier release, None if it has none."""
    try:
        return as_id(remove_invisible(name))
    except ValueError:
        return None


def plain_key_name(name: str) -> str:
    """Return the current form of an API key's name; two keys may have the same name."""
    try:
        return as_name(remove_invisible(name), MOST_OF_A_KEY)
    except ValueError:
        return name


def is_odd(name: str) -> bool:
    """Tell whether a name could not be given to a new subject."""
    return plain_form(name) != name


def new_names(odd: Sequence[str]) -> dict[str, str]:
    """Return new names by odd name; names that would become the same are left out."""
    forms = {name: plain_form(name) for name in odd if is_odd(name)}
    times = Counter(forms.values())
    return {name: form for name, form in forms.items() if form is not None and times[form] == 1}


def odd_name(subject: str) -> OddName:
    """Say what an odd name would become, and why it was not renamed."""
    try:
        name = as_id(remove_invisible(subject))
    except ValueError as exc:
        return OddName(subject, None, f"{exc}.")
    return OddName(subject, name, "Another subject has this name, or would get it as well.")


def log_left(left: int) -> None:
    """Log how many subjects keep an odd name, if there are any."""
    if left:
        logger.warning(
            "%d subjects keep names of an earlier release that look like another name or are "
            "invisible; list them with `likeness names` and rename them.",
            left,
        )
