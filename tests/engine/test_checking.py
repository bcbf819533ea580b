"""The check before sending: it costs little, and decides what the rules decide."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turnlatch_states.api.rules import check
from turnlatch_states.effects.invalid_input import plainly_legal

KEYS = st.sampled_from(["type", "text", "tool_use_id", "content", "is_error", "extra"])
VALUES = (
    st.sampled_from(
        ["text", "tool_result", "toolu_1", "toolu_2", "", " ", "Hello", "\ud800"]
    )
    | st.booleans()
    | st.none()
    | st.text(max_size=4)
)


def text_block(value: Any) -> dict[str, Any]:
    return {"type": "text", "text": value}


def result_block(id_: Any, content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


ANY_BLOCKS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    KEYS, VALUES, max_size=5
)
BLOCKS = (
    ANY_BLOCKS | st.builds(text_block, VALUES) | st.builds(result_block, VALUES, VALUES)
)
CALLS = st.lists(st.sampled_from(["toolu_1", "toolu_2"]), unique=True, max_size=2)


def rules_say(blocks: list[dict[str, Any]], calls: list[str]) -> bool:
    asked: list[dict[str, Any]] = [
        {"type": "tool_use", "id": c, "name": "n", "input": {}} for c in calls
    ]
    before: list[dict[str, Any]] = [
        {"role": "user", "content": "-"},
        {"role": "assistant", "content": asked},
    ]
    messages: list[dict[str, Any]] = [
        *(before if calls else ()),
        {"role": "user", "content": blocks},
    ]
    body: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 9,
        "messages": messages,
    }
    return next(check(body), None) is None


@given(st.lists(BLOCKS, max_size=4), CALLS)
def test_plainly_legal_requests_pass_the_rules(
    blocks: list[dict[str, Any]], calls: list[str]
) -> None:
    if plainly_legal(blocks, calls):
        assert rules_say(blocks, calls)


@given(CALLS, st.lists(st.sampled_from(["Hello", "two words"]), max_size=2))
def test_the_everyday_message_is_plainly_legal(
    calls: list[str], texts: list[str]
) -> None:
    blocks: list[dict[str, Any]] = [
        *({"type": "tool_result", "tool_use_id": c, "content": "r"} for c in calls),
        *({"type": "text", "text": t} for t in texts),
    ]
    assert plainly_legal(blocks, calls) == bool(blocks)


def test_request_that_a_rule_refuses_is_never_plainly_legal() -> None:
    for bad in (
        {"type": "text", "text": " "},
        {"type": "text", "text": "x", "extra": 1},
        {"type": "text", "text": "\ud800"},
        {"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"},
    ):
        assert not plainly_legal([bad], [])
        assert not rules_say([bad], [])
