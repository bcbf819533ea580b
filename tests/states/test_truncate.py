"""A result made shorter begins and ends as it did, and says what is gone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch_states.request.truncate import cut_text, shrunk, told_result

LONG = "a" * 300


@given(st.text(min_size=60), st.integers(0, 100))
def test_a_cut_text_is_short_and_keeps_its_ends(text: str, most: int) -> None:
    size = len(text.encode(errors="surrogatepass"))
    cut = cut_text(text, most)

    if size <= most + 64:
        assert cut == text
        return
    keep = max(most, 16)
    note = f"\n[… {size - keep} bytes were left out here …]\n"
    head, tail = cut.rsplit(note, 1)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len((head + tail).encode(errors="surrogatepass")) <= keep


def test_of_what_is_kept_two_thirds_are_the_beginning_and_one_is_the_end() -> None:
    text = "b" * 100 + "m" * 100 + "e" * 100

    assert cut_text(text, 30) == (
        f"{'b' * 20}\n[… 270 bytes were left out here …]\n{'e' * 10}"
    )
    assert cut_text(text, 236) == text
    assert cut_text(text, 235) != text
    assert cut_text(text, 1) == cut_text(text, 16)


def test_a_character_that_the_cut_would_part_is_left_out() -> None:
    cut = cut_text("é" * 200, 31)

    assert cut == "é" * 10 + "\n[… 369 bytes were left out here …]\n" + "é" * 5


def _result(content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "a", "content": content}


@pytest.mark.parametrize(
    ("block", "shorter"),
    [
        ({"type": "text", "text": LONG}, None),
        (
            {"type": "image", "source": {}},
            {"type": "text", "text": "[An earlier image was left out here.]"},
        ),
        (_result("short"), None),
        (_result(None), None),
        (_result([{"type": "text", "text": "short"}]), None),
        (_result([{"type": "tool_reference", "tool_name": "x"}]), None),
        (_result(LONG), _result(cut_text(LONG, 20))),
        (
            _result([{"type": "text", "text": LONG}, {"type": "text", "text": "b"}]),
            _result(
                [
                    {"type": "text", "text": cut_text(LONG, 20)},
                    {"type": "text", "text": "b"},
                ]
            ),
        ),
        (
            _result([{"type": "document", "source": {}}]),
            _result(
                [{"type": "text", "text": "[An earlier document was left out here.]"}]
            ),
        ),
    ],
)
def test_long_results_are_cut_media_are_replaced_and_short_ones_stay(
    block: dict[str, Any], shorter: dict[str, Any] | None
) -> None:
    before = repr(block)
    found = shrunk(block, 20)

    assert found == (block if shorter is None else shorter)
    assert (found is block) == (shorter is None)
    assert repr(block) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("said", "said"),
        (None, ""),
        ([], ""),
        (
            [{"type": "text", "text": "one"}, {"type": "image"}],
            "one\n[image]",
        ),
    ],
)
def test_text_of_a_result_names_each_part(content: Any, told: str) -> None:
    assert told_result({"content": content}) == told
    assert told_result({}) == ""
