"""Remember a client's subjects: acknowledged changes, and changes that may have happened."""

from collections.abc import Mapping
from dataclasses import dataclass

Templates = Mapping[str, str]
"""The templates of one subject: the SHA-256 of each photo, and the template's id."""


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """Hold a request without an answer yet: it takes effect completely or not at all."""

    after: Mapping[str, frozenset[str]]
    """The photos that subjects have templates of if it takes effect."""


@dataclass(slots=True)
class Violations:
    """Count errors that must never happen."""

    lost: int = 0
    back: int = 0
    half_done: int = 0

    def __str__(self) -> str:
        return f"{self.lost} lost, {self.back} reappeared, {self.half_done} half done"

    def __bool__(self) -> bool:
        return bool(self.lost or self.back or self.half_done)


@dataclass(slots=True)
class Journal:
    """Hold the acknowledged templates of one client's subjects, which only this client changes."""

    held: dict[str, Templates]
    begun: PendingRequest | None = None
    acknowledged: int = 0

    def begin(self, after: Mapping[str, frozenset[str]]) -> None:
        self.begun = PendingRequest(after)

    def acknowledge(self, after: Mapping[str, Templates]) -> None:
        """Record that the begun request took effect and left these templates."""
        assert self.begun is not None
        assert {subject: each.keys() for subject, each in after.items()} == self.begun.after
        self.held |= after
        self.acknowledged += 1
        self.begun = None

    def settle(self, found: Mapping[str, Templates], wrong: Violations) -> None:
        """Compare the journal with the gallery after a restart, and continue from the gallery."""
        after = {} if self.begun is None else self.begun.after
        self.begun = None
        for subject in found.keys() - after.keys():
            before, now = self.held[subject].items(), found[subject].items()
            wrong.lost += len(before - now)
            wrong.back += len(now - before)
        now_there = {subject: found[subject].keys() for subject in after}
        untouched = {subject: self.held[subject].keys() for subject in after}
        wrong.half_done += now_there not in (untouched, after)
        self.held |= found
