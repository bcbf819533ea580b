"""Summaries by an ordinary request: legal whatever was said, and no gain is no summary."""

import json
from typing import Any, get_args

import attrs
import pytest
from anthropic.types import StopReason
from anthropic.types.beta import BetaStopReason
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import examples
from tests.states.conversation_strategies import (
    PARTS,
    Conversation,
    conversation_of,
    conversations,
    findings,
    plain,
)
from tests.states.strategies import call, reply, text

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.api.resendable import mended
from turnlatch_states.api.rules import Context, check
from turnlatch_states.machine import events as ev
from turnlatch_states.request.history import Method, told_block
from turnlatch_states.request.profile import Profile
from turnlatch_states.request.summary import (
    PROMPT,
    REPLY_TOKENS,
    record_of,
    summary_text,
    told_body,
    too_large,
    unusable_told,
)
from turnlatch_states.request.truncate import cut_text, shrunk

anything = st.text(st.characters(), max_size=30)


@given(conversations, anything, st.integers(512, 20_000), st.data())
@settings(max_examples=examples(50))
def test_the_request_is_one_message_of_words(
    chat: Conversation, so_far: str, most: int, data: st.DataObject
) -> None:
    """No call in it needs a result, no thinking its place, no block a signature."""
    snapshot = chat.snapshot
    size = len(snapshot.history)
    start = data.draw(st.integers(0, size))
    until = data.draw(st.integers(start, size))
    so_far = mended(so_far)
    body = told_body(
        snapshot.profile, snapshot.history, so_far, start, until, bytes_max=most
    )
    whole = json.loads(body)

    assert list(check(whole, Context(body_bytes=len(body)))) == []
    (message,) = whole["messages"]
    (block,) = message["content"]
    assert (message["role"], block["type"]) == ("user", "text")
    assert whole["max_tokens"] == min(snapshot.profile.max_tokens, REPLY_TOKENS)
    around = len((so_far + PROMPT).encode()) + 128
    assert len(block["text"].encode()) <= most + around


@given(conversations)
@settings(max_examples=examples(50))
def test_record_contains_the_whole_conversation(chat: Conversation) -> None:
    for exchange in chat.snapshot.history:
        record = record_of(exchange)
        for wire in (exchange.user, exchange.resendable):
            for block in json.loads(b"[" + wire + b"]"):
                if block["type"] == "text":
                    assert block["text"] in record
                elif block["type"] == "tool_use":
                    assert f"(called {block['name']} with" in record
                elif block["type"] == "thinking":
                    assert block["thinking"] not in record
        assert record.count("(it answered:") == exchange.user.count(b'"tool_result"')


def test_a_piece_goes_on_from_the_summary_before_it() -> None:
    chat = conversation_of([(PARTS.index(plain), 0)] * 2, (0, 0))
    profile = Profile("claude-sonnet-5-5", 100_000)
    body = told_body(
        profile,
        chat.snapshot.history,
        "So far.",
        1,
        2,
        bytes_max=9_999,
        instructions="!",
    )
    said = json.loads(body)["messages"][0]["content"][0]["text"]

    assert said.startswith(
        "[Summary of what came before]\nSo far.\n\n[Record]\nUser:\n"
    )
    assert said.endswith("\n\n!")
    assert json.loads(body)["max_tokens"] == REPLY_TOKENS


# What comes back.

STOPS = {*get_args(StopReason), *get_args(BetaStopReason), "a_reason_of_tomorrow"}
GOOD = {"end_turn", "stop_sequence"}


@pytest.mark.parametrize("stop", sorted(STOPS))
def test_only_a_reply_that_came_to_its_end_is_a_summary(stop: str) -> None:
    assert (unusable_told(reply(1, stop, text("So far."))) is None) == (stop in GOOD)


@pytest.mark.parametrize(
    ("blocks", "why"),
    [
        ((), "empty"),
        ((text(" \n"),), "empty"),
        (({"type": "thinking", "thinking": "So far.", "signature": "s"},), "empty"),
        ((text("So far."), call("toolu_1")), "tool call"),
    ],
)
def test_a_reply_without_a_summary_says_so(
    blocks: tuple[dict[str, Any], ...], why: str
) -> None:
    assert why in str(unusable_told(reply(1, "end_turn", *blocks)))


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.floats(0, 1))
def test_a_summary_is_smaller_than_what_it_stands_for(
    summary: int, covered: int, gain: float
) -> None:
    told = too_large(summary, covered, gain)

    assert (told is None) == (covered < 1024 or summary <= covered * (1 - gain))
    assert told is None or (str(summary) in told and str(covered) in told)


@given(anything)
def test_text_of_a_summary_is_read_back(words: str) -> None:
    told = told_block(words)
    signed = encode({"type": "compaction", "content": words or None})

    assert summary_text(told, Method.TOLD).endswith(mended(words))
    assert summary_text(signed, Method.SIGNED) == words
    told.decode().encode()


MANGLED: dict[str, Any] = {
    "type": "compaction",
    "content": "So \ud800 far.",
    "signature": "s",
    "citations": None,
    "cache_control": None,
}


@pytest.mark.parametrize("method", Method)
def test_whatever_a_summary_holds_it_may_be_sent(method: Method) -> None:
    """And so may what is pinned: a summary goes along with every later request."""
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    chat.do(ev.Pinned("a\udfff", "never \ud800 forget"))
    number, attempt = chat.turn.number, chat.turn.attempt + 1
    chat.do(ev.CompactionSent(number, attempt, 1, method))
    block = MANGLED if method is Method.SIGNED else text("So \ud800 far.")
    stop = "compaction" if method is Method.SIGNED else "end_turn"
    made = reply(99, stop, block)
    chat.do(ev.CompactionConfirmed(number, attempt, made))

    assert findings(chat.snapshot, chat.snapshot.showing) == []
    assert chat.snapshot.base is not None
    assert summary_text(chat.snapshot.base.block, method).endswith("So \ufffd far.")
    follows = told_body(
        chat.snapshot.profile,
        chat.snapshot.history,
        summary_text(chat.snapshot.base.block, method),
        1,
        1,
        bytes_max=512,
    )
    assert list(check(json.loads(follows))) == []


def test_a_signed_summary_that_is_legal_is_kept_to_the_letter() -> None:
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    number, attempt = chat.turn.number, chat.turn.attempt + 1
    chat.do(ev.CompactionSent(number, attempt, 1, Method.SIGNED))
    content = b'{ "type":"compaction", "content":"So far.","signature":"s"}'
    made = Reply(content, reply(99, "compaction").meta)
    chat.do(ev.CompactionConfirmed(number, attempt, made))

    assert chat.snapshot.base is not None
    assert chat.snapshot.base.block == content


def test_the_check_sees_a_summary_that_is_sent_as_it_came() -> None:
    """Planted: the block of the answer, with what exists in answers only."""
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    chat.summarises(Method.SIGNED)
    assert chat.snapshot.base is not None
    raw = attrs.evolve(chat.snapshot.base, block=encode(MANGLED))

    assert findings(attrs.evolve(chat.snapshot, bases=(raw,)), chat.snapshot.showing)


# Results made shorter.


@given(anything.map(lambda words: words * 20), st.integers(0, 300))
@settings(max_examples=examples(200))
def test_a_text_that_is_cut_is_short_and_is_not_cut_again(
    words: str, most: int
) -> None:
    cut = cut_text(words, most)

    if len(words.encode(errors="surrogatepass")) <= most + 64:
        assert cut is words
        return
    assert len(cut.encode()) <= max(most, 16) + 64
    assert cut_text(cut, most) == cut


@given(st.text(max_size=30).map(lambda words: words * 20), st.integers(0, 300))
def test_a_text_that_is_cut_keeps_its_beginning_and_its_end(
    words: str, most: int
) -> None:
    cut = cut_text(words, most)
    if cut is not words:
        head, note, tail = cut.partition("\n[… ")
        assert note
        assert words.startswith(head)
        assert words.endswith(tail.partition(" …]\n")[2])


@given(st.integers(0, 300))
def test_a_result_that_is_short_is_the_very_block(most: int) -> None:
    block: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [text("short"), {"type": "tool_reference", "tool_name": "look"}],
    }

    assert shrunk(block, most) is block
    assert shrunk(text("x" * 999), most) == text("x" * 999), "the user's own words"
