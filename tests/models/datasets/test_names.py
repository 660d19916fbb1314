"""Names that look the same are one name, and invisible characters are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.datasets.names import as_id, as_name, remove_invisible


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jos\u00e9", "Jose\u0301"),
        ("\ud55c\uc2e0", "\u1112\u1161\u11ab\u1109\u1175\u11ab"),
        ("Vi\u1ec7t", "Vie\u0302\u0323t"),
        ("\u212bngstrom", "\u00c5ngstrom"),
        ("Ada Lovelace", "Ada\u00a0Lovelace"),
        ("\u674e \u660e", "\u674e\u3000\u660e"),
        ("Ada \u2764", "Ada \u2764\ufe0f"),
    ],
)
def test_names_that_look_the_same_are_one(one: str, other: str) -> None:
    assert as_name(one) == as_name(other)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", id="Persian"),
        pytest.param("\u0930\u094d\u200d\u092f", id="Devanagari"),
        pytest.param("\u0dc1\u0dca\u200d\u0dbb\u0dd3", id="Sinhala"),
        pytest.param("\u0d30\u0d2e\u0d23\u0d28\u0d4d\u200d", id="Malayalam"),
        pytest.param("\u09b0\u200d\u09cd\u09af\u09be\u099a\u09c7\u09b2", id="Bengali"),
        pytest.param("\u1820\u180b\u1821", id="Mongolian"),
        pytest.param("\u845b\U000e0100\u57ce", id="Japanese"),
        pytest.param("\u3400\U0002ebf0\U000323b0", id="ideographs of a later Unicode"),
        pytest.param("Ada \U0001f469\U0001f3fd", id="emoji"),
        pytest.param("O'Brien-\u00d8, 3rd (a  b)", id="Latin"),
        pytest.param("x" * 256, id="long"),
    ],
)
def test_name_keeps_what_its_script_needs(name: str) -> None:
    assert (as_name(name), remove_invisible(name)) == (name, name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\u200bda", "ZERO WIDTH SPACE"),
        ("\ufeffada", "U\\+FEFF"),
        ("a\u00adda", "SOFT HYPHEN"),
        ("\u200fada", "RIGHT-TO-LEFT MARK"),
        ("a\u202eda", "RIGHT-TO-LEFT OVERRIDE"),
        ("a\u061cda", "ARABIC LETTER MARK"),
        ("a\u200dda", "ZERO WIDTH JOINER"),
        ("\u062f\u0627\u0631\u200c\u0627", "ZERO WIDTH NON-JOINER"),
        ("\u0639\u0644\u06cc\u200c", "ZERO WIDTH NON-JOINER"),
        ("\U0001f469\u200d\U0001f52c", "ZERO WIDTH JOINER"),
        ("\u0915\u094d\u200db", "ZERO WIDTH JOINER"),
        ("ada\ufffc", "OBJECT REPLACEMENT CHARACTER"),
        ("ada\U000e0061", "TAG LATIN SMALL LETTER A"),
        ("ada\u3164", "HANGUL FILLER"),
        ("ada\u2800", "BRAILLE PATTERN BLANK"),
        ("a\ufe00da", "VARIATION SELECTOR-1"),
        ("a\u180bda", "MONGOLIAN FREE VARIATION SELECTOR ONE"),
        (" ada", "beginning"),
        ("ada\u3000", "end"),
        ("a\tda", "U\\+0009: it is a control"),
        ("a\u0085da", "U\\+0085: it is a control"),
        ("a\u2028da", "LINE SEPARATOR"),
        ("ada\ud800", "U\\+D800: it is half"),
        ("ada\ue000", "U\\+E000: it is for private use"),
        ("ada\uffff", "U\\+FFFF: it is not a known character"),
        ("ada\u0378", "U\\+0378: it is not a known character"),
        ("ada\ufffd", "UTF-8"),
        ("", "1 to 256"),
        ("\ufe0f", "1 to 256"),
        ("\u00e9" * 257, "1 to 256"),
        ("\u0301" * 10**6, "1 to 256"),
    ],
)
def test_sentence_names_the_character_that_is_wrong(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_name(name)


@pytest.mark.parametrize("name", ["ada/lovelace", ".", ".."])
def test_name_in_a_path_is_no_path(name: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        as_id(name)


@given(st.text())
def test_form_of_a_form_is_that_form(text: str) -> None:
    for name in (text, remove_invisible(text)):
        try:
            form = as_name(name)
        except ValueError:
            continue
        assert (as_name(form), remove_invisible(form)) == (form, form)
