"""Hold one line of the table that says what was tried, how much of it, and what came of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """Say what was tried, how often, the figure, the figure wanted, and whether it is met."""

    what: str
    amount: str
    figure: str
    target: str
    ok: bool
