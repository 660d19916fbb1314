"""Define a row of the result tables."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """Hold a test, its amount, its figure, the required figure, and whether it is reached."""

    what: str
    amount: str
    figure: str
    target: str
    ok: bool
