"""Characters that a terminal might obey are escaped, and readable text stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch_states.fsm.printable import escape, printable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain ~ text", "plain ~ text"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\\x0db"),
        ("\x1b[2J\x07\x00\x7f", "\\x1b[2J\\x07\\x00\\x7f"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("Grüße, 你好 👋", "Grüße, 你好 👋"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2028\u2029\u200b\ufeff", "\\u2028\\u2029\\u200b\\ufeff"),
        ("a\u115f\u1160\u3164\uffa0", "a\\u115f\\u1160\\u3164\\uffa0"),
        ("\ud83d\ue000\U000e0041", "\\ud83d\\ue000\\U000e0041"),
    ],
)
def test_invisible_characters_are_escaped_and_others_stay(
    given: str, shown: str
) -> None:
    assert escape(given) == shown
    assert printable(given) == shown.replace("\n", "\\n").replace("\t", "\\t")


@given(st.text())
def test_a_printable_text_is_one_line_that_is_shown_as_it_is(text: str) -> None:
    shown = printable(text)

    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
