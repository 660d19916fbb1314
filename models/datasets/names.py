"""Names of people: one form of each, and nothing in it that cannot be seen.

Two names that look the same make two people of one. The form is NFC (Unicode Standard Annex
#15), in which a letter with an accent is always the same characters, and every blank is the
ordinary one. What cannot be seen is refused, except where it changes what is seen: joiners by
RFC 5892, appendix A; selectors after ideographs and Mongolian letters.
"""

import unicodedata
from typing import Final

from idna import valid_contextj

MOST_CHARACTERS: Final = 256

_NON_JOINER, _JOINER = "\u200c", "\u200d"
_VIRAMA: Final = 9  # a combining class
# They choose an emoji's colours, and keyboards add them as they like.
_PRESENTATION: Final = str.maketrans("", "", "\ufe0e\ufe0f")
# Unicode has them among letters, marks and symbols, but they look like nothing or like a blank.
_LOOKS_EMPTY: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc\U00016fe4\U0001d159"
)
_CANNOT_BE_SEEN: Final = "it cannot be seen, so that two names would look the same"
_REASONS: Final = {
    "Cc": "it is a control character",
    "Cs": "it is half of a character",
    "Co": "it is for private use, and means something else elsewhere",
    "Cn": "it is no character that is known here",
    "Zl": "it ends a line",
    "Zp": "it ends a line",
}
# Reserved for emoji and ideographs: what a later Unicode adds there has no second form.
_RESERVED: Final = ((0x1F000, 0x1FAFF), (0x20000, 0x2FFFD), (0x30000, 0x3FFFD))


def as_name(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return the one form of a name of 1 to `most` characters; a name in that form stays as it is.

    Raises ValueError; its sentence names the character that is wrong.
    """
    # Before it is normalised: no character has more than four parts.
    name = _in_one_form(text) if len(text) <= 4 * most else text
    if not 1 <= len(name) <= most:
        raise ValueError(f"A name has 1 to {most} characters")
    if not (name.isascii() and name.isprintable()):
        for at in range(len(name)):
            _check_character(name, at)
    for end, character in (("beginning", name[0]), ("end", name[-1])):
        if character == " ":
            raise ValueError(f"Leave out the blank at the {end}")
    return name


def as_id(text: str) -> str:
    """Return the one form of a name that stands in the paths of URLs. Raises ValueError."""
    name = as_name(text)
    if name in (".", ".."):
        raise ValueError("`.` and `..` are no names: what sends a URL reads them as folders")
    if "/" in name:
        raise ValueError("Leave out the `/`: in a URL the name would end there")
    return name


def remove_invisible(text: str) -> str:
    """Return a name without what cannot be seen of it; what is left may still be no name."""
    name = _in_one_form(text)
    seen = (character for at, character in enumerate(name) if not _is_unseen(name, at))
    return _in_one_form("".join(seen)).strip(" ")


def _in_one_form(text: str) -> str:
    if text.isascii():
        return text
    text = text.translate(_PRESENTATION)
    plain = (" " if unicodedata.category(each) == "Zs" else each for each in text)
    return unicodedata.normalize("NFC", "".join(plain))


def _check_character(name: str, at: int) -> None:
    character = name[at]
    if character == "\ufffd":
        reason: str | None = "it stands for bytes that were not UTF-8"
    elif _is_unseen(name, at):
        reason = _CANNOT_BE_SEEN
    elif _is_reserved(character):
        return
    else:
        reason = _REASONS.get(unicodedata.category(character))
    if reason is not None:
        called = unicodedata.name(character, "")
        said = f"U+{ord(character):04X}" + (f" ({called})" if called else "")
        raise ValueError(f"Leave out {said}: {reason}")


def _is_unseen(name: str, at: int) -> bool:
    """Tell whether a character cannot be seen, and changes nothing that can where it is."""
    character, before = name[at], name[max(at - 1, 0) : at]
    if character.isascii():
        return False
    if character in (_NON_JOINER, _JOINER):
        return not _joins(name, at)
    if "\u180b" <= character <= "\u180f":
        return not unicodedata.name(before or " ", "").startswith("MONGOLIAN LETTER")
    if "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef":
        return not _is_ideograph(before)
    return unicodedata.category(character) == "Cf" or character in _LOOKS_EMPTY


def _joins(name: str, at: int) -> bool:
    """Tell whether a joiner changes how its neighbours look."""
    before, after = name[max(at - 1, 0) : at], name[at + 1 : at + 2]
    if after and not _are_of_one_script(before, after):
        return False
    if name[at] == _NON_JOINER and (not after or unicodedata.category(after)[0] not in "LM"):
        return False
    try:
        joins = valid_contextj(name, at)
    except ValueError:  # a neighbour that it does not know
        return False
    # In Bengali and Kannada a joiner also stands between a letter and the sign that joins it.
    return joins or (before != "" and after != "" and unicodedata.combining(after) == _VIRAMA)


def _are_of_one_script(one: str, other: str) -> bool:
    scripts = (unicodedata.name(each or " ", "").partition(" ")[0] for each in (one, other))
    return len(set(scripts)) == 1


def _is_ideograph(character: str) -> bool:
    named = character and unicodedata.name(character, "").startswith("CJK UNIFIED IDEOGRAPH")
    return bool(named) or (character != "" and _is_reserved(character) and character > "\U0001ffff")


def _is_reserved(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in _RESERVED)
