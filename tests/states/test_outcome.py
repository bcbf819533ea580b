"""Every stop reason, with every shape of content, has one defined outcome."""

import typing
from typing import Any

import pytest
from tests.states.strategies import STOPS, call, reply, search, summary, text

from turnlatch_states.api.stop_reasons import (
    STOP_REASONS,
    Outcome,
    outcome,
    unusable_summary,
)

RESULT: dict[str, Any] = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [],
}
SHAPES: dict[str, tuple[dict[str, Any], ...]] = {
    "nothing": (),
    "text": (text(),),
    "calls": (text(), call("toolu_1")),
    "pending server tool": (text(), search()),
    "finished server tool": (search(), RESULT),
    "both kinds of tool": (search(), call("toolu_1")),
}
R, C, P, E = Outcome.REST, Outcome.CALLS, Outcome.RESUME, Outcome.EMPTY
T, O, X = Outcome.TRUNCATED, Outcome.OVERFLOW, Outcome.REFUSED  # noqa: E741 - a table
EXPECTED = {
    "end_turn": (E, R, R, R, R, R),
    "stop_sequence": (E, R, R, R, R, R),
    "tool_use": (E, R, C, R, R, C),
    "pause_turn": (E, R, C, P, P, C),
    "compaction": (E, R, C, P, P, C),
    "max_tokens": (T, T, T, T, T, T),
    "model_context_window_exceeded": (O, O, O, O, O, O),
    "refusal": (X, X, X, X, X, X),
    "a_reason_of_tomorrow": (E, R, R, R, R, R),
}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_outcome_is_what_the_table_says(stop: str, shape: str) -> None:
    made = reply(1, stop, *SHAPES[shape])

    assert outcome(made) is EXPECTED[stop][list(SHAPES).index(shape)]


def test_every_stop_reason_of_the_sdk_is_known() -> None:
    from anthropic.types.beta.beta_stop_reason import BetaStopReason
    from anthropic.types.stop_reason import StopReason

    told = {*typing.get_args(StopReason), *typing.get_args(BetaStopReason)}
    assert told == set(STOP_REASONS)
    assert told | {"a_reason_of_tomorrow"} == set(EXPECTED)


def test_only_one_signed_summary_with_words_in_it_is_usable() -> None:
    assert unusable_summary(summary(1)) is None
    block = {"type": "compaction", "content": "so far"}
    for problem, bad in {
        "gave no summary": reply(1, "end_turn", block),
        "has 0 block": reply(1, "compaction"),
        "has 2 block": reply(1, "compaction", block, block),
        "not exactly one compaction": reply(1, "compaction", text()),
        "the summary is empty": reply(1, "compaction", {**block, "content": " "}),
    }.items():
        assert problem in (unusable_summary(bad) or "")
