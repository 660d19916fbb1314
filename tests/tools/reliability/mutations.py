"""Mutate bytes as chance, a bad connection or an attacker would; Hypothesis draws how."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from hypothesis import strategies as st

Kind = Literal["flip", "set", "number", "cut", "drop", "repeat", "swap", "graft", "insert"]

# Sizes and counts that break arithmetic, as 1, 2 and 4 bytes in both byte orders.
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_FORMS = ("<B", "<H", ">H", "<I", ">I")
# Half of all mutations are in the first bytes, where formats keep their headers.
_HEAD_BYTES = 256
_LONGEST_BYTES = 4096
_MOST_BENDS = 6


@dataclass(frozen=True, slots=True)
class Bend:
    """Hold one mutation; `place` counts in all bytes or in the first ones."""

    kind: Kind
    in_head: bool
    place: int
    length: int
    value: int

    def apply(self, data: bytes, other: bytes, kept: int) -> bytes:
        """Return the mutated bytes; the first `kept` bytes stay, and grafts come from `other`."""
        reach = min(len(data), _HEAD_BYTES) if self.in_head else len(data)
        at = min(len(data), kept + self.place % max(1, reach - kept))
        end = min(len(data), at + self.length)
        before, piece, rest = data[:at], data[at:end], data[end:]
        if self.kind == "cut":
            return before
        return before + self._instead(piece, other) + rest

    def _instead(self, piece: bytes, other: bytes) -> bytes:
        byte, number = bytes([self.value % 256]), _number(self.value)
        start = self.value % max(1, len(other))
        instead: dict[Kind, bytes] = {
            "flip": bytes(value ^ 1 << self.value % 8 for value in piece[:1]) + piece[1:],
            "set": byte * len(piece),
            "number": number + piece[len(number) :],
            "drop": b"",
            "repeat": piece * (2 + self.value % 8),
            "swap": piece[::-1],
            "graft": other[start : start + self.length],
            "insert": byte * self.length + piece,
        }
        return instead[self.kind]


def _number(value: int) -> bytes:
    form = _FORMS[value % len(_FORMS)]
    most = 256 ** struct.calcsize(form)
    return struct.pack(form, _NUMBERS[value // len(_FORMS) % len(_NUMBERS)] % most)


def bends() -> st.SearchStrategy[Bend]:
    """Draw one mutation."""
    return st.builds(
        Bend,
        kind=st.sampled_from(get_args(Kind)),
        in_head=st.booleans(),
        place=st.integers(0, 0xFFFF),
        length=st.one_of(st.integers(1, 8), st.integers(1, _LONGEST_BYTES)),
        value=st.integers(0, 0xFFFF),
    )


@st.composite
def bent(draw: st.DrawFn, samples: Sequence[bytes], least: int = 1, kept: int = 0) -> bytes:
    """Draw a sample with at least `least` mutations; mostly its first bytes are `kept`."""
    data = draw(st.sampled_from(samples))
    kept = draw(st.sampled_from((kept, kept, kept, kept, 0)))
    for bend in draw(st.lists(bends(), min_size=least, max_size=_MOST_BENDS)):
        other = draw(st.sampled_from(samples)) if bend.kind == "graft" else b""
        data = bend.apply(data, other, kept)
    return data
