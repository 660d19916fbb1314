"""What a client knows of its subjects: what was acknowledged, and what may have happened."""

from collections.abc import Mapping
from dataclasses import dataclass

Templates = Mapping[str, str]
"""The templates of one subject: the SHA-256 of each photo, and the template's id."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Hold a request whose answer has not come: it takes effect as a whole, or not at all."""

    subject: str
    after: frozenset[str]
    """The photos that the subject has templates of if it takes effect."""


@dataclass(slots=True)
class Wrong:
    """Count what must never be."""

    lost: int = 0
    back: int = 0
    half_done: int = 0

    def __str__(self) -> str:
        return f"{self.lost} lost, {self.back} back, {self.half_done} half done"

    def __bool__(self) -> bool:
        return bool(self.lost or self.back or self.half_done)


@dataclass(slots=True)
class Journal:
    """Hold what one client was told of its subjects, which nobody else changes."""

    held: dict[str, Templates]
    begun: Begun | None = None
    acknowledged: int = 0

    def begin(self, subject: str, after: frozenset[str]) -> None:
        self.begun = Begun(subject, after)

    def acknowledge(self, templates: Templates) -> None:
        """Note that what was begun has taken effect, and left the subject these templates."""
        assert self.begun is not None
        assert templates.keys() == self.begun.after
        self.held[self.begun.subject] = templates
        self.acknowledged += 1
        self.begun = None

    def settle(self, found: Mapping[str, Templates], wrong: Wrong) -> None:
        """Compare with what is there after a restart, and go on from that."""
        begun, self.begun = self.begun, None
        for subject, templates in found.items():
            before = self.held[subject]
            if begun is not None and begun.subject == subject:
                wrong.half_done += templates.keys() not in (before.keys(), begun.after)
            else:
                wrong.lost += len(before.items() - templates.items())
                wrong.back += len(templates.items() - before.items())
            self.held[subject] = templates
