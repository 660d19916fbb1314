"""Normalise names of people, and refuse invisible characters in them.

Two different names that look the same would make two people of one. The normal form is NFC
(Unicode Standard Annex #15), in which a letter with an accent is always the same characters, with
the ordinary space for every space. Invisible characters are allowed only if they change how their
neighbours look: joiners by RFC 5892, appendix A, and selectors after ideographs and Mongolian
letters.
"""

import unicodedata
from typing import Final

from idna import valid_contextj

_MOST_CHARACTERS: Final = 256

_NON_JOINER, _JOINER = "\u200c", "\u200d"
_VIRAMA: Final = 9  # a combining class
# These choose the colours of an emoji; some keyboards add them and others do not.
_PRESENTATION: Final = str.maketrans("", "", "\ufe0e\ufe0f")
# By Unicode these are letters, marks and symbols, but they look like nothing or like a space.
_LOOKS_EMPTY: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc\U00016fe4\U0001d159"
)
_INVISIBLE: Final = "it is invisible, so two different names would look the same"
_REASONS: Final = {
    "Cc": "it is a control character",
    "Cs": "it is half of a character",
    "Co": "it is for private use, and has no common meaning",
    "Cn": "it is not a known character",
    "Zl": "it ends a line",
    "Zp": "it ends a line",
}
# Reserved for emoji and ideographs: characters that later versions of Unicode add there have only
# one form.
_RESERVED: Final = ((0x1F000, 0x1FAFF), (0x20000, 0x2FFFD), (0x30000, 0x3FFFD))


def as_name(text: str, most: int = _MOST_CHARACTERS) -> str:
    """Return the normal form of a name of 1 to `most` characters.

    A name in normal form does not change. Raises ValueError; its sentence names the character that
    is not allowed.
    """
    # A much longer name is not normalised: no character has more than four parts.
    name = _normal_form(text) if len(text) <= 4 * most else text
    if not 1 <= len(name) <= most:
        raise ValueError(f"A name has 1 to {most} characters")
    if not (name.isascii() and name.isprintable()):
        for at in range(len(name)):
            _check_character(name, at)
    for end, character in (("beginning", name[0]), ("end", name[-1])):
        if character == " ":
            raise ValueError(f"Leave out the space at the {end}")
    return name


def as_id(text: str) -> str:
    """Return the normal form of a name that is used in the paths of URLs; raises ValueError."""
    name = as_name(text)
    if name in (".", ".."):
        raise ValueError("`.` and `..` cannot be names: in a URL they mean folders")
    if "/" in name:
        raise ValueError("Leave out the `/`: in a URL the name would end there")
    return name


def remove_invisible(text: str) -> str:
    """Return a name without its invisible characters; the rest may still not be a valid name."""
    name = _normal_form(text)
    visible = (character for at, character in enumerate(name) if not _is_invisible(name, at))
    return _normal_form("".join(visible)).strip(" ")


def _normal_form(text: str) -> str:
    if text.isascii():
        return text
    text = text.translate(_PRESENTATION)
    plain = (" " if unicodedata.category(each) == "Zs" else each for each in text)
    return unicodedata.normalize("NFC", "".join(plain))


def _check_character(name: str, at: int) -> None:
    character = name[at]
    if character == "\ufffd":
        reason: str | None = "it stands for bytes that were not UTF-8"
    elif _is_invisible(name, at):
        reason = _INVISIBLE
    elif _is_reserved(character):
        return
    else:
        reason = _REASONS.get(unicodedata.category(character))
    if reason is not None:
        title = unicodedata.name(character, "")
        shown = f"U+{ord(character):04X}" + (f" ({title})" if title else "")
        raise ValueError(f"Leave out {shown}: {reason}")


def _is_invisible(name: str, at: int) -> bool:
    """Return whether a character is invisible and does not change how its neighbours look."""
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
    """Return whether a joiner changes how its neighbours look."""
    before, after = name[max(at - 1, 0) : at], name[at + 1 : at + 2]
    if after and not _are_of_one_script(before, after):
        return False
    if name[at] == _NON_JOINER and (not after or unicodedata.category(after)[0] not in "LM"):
        return False
    try:
        joins = valid_contextj(name, at)
    except ValueError:  # idna does not know a neighbour
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
