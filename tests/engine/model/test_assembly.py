"""Assembly: whole replies only, sealed from what arrived, whatever the chunks."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.ports import (
    BlockClosed,
    BlockOpened,
    Delta,
    InputDelta,
    TextDelta,
    ThinkingDelta,
)
from turnlatch.sdk.assembly import Assembly
from turnlatch.sdk.sealing import ErrorEnvelopeError, IncompleteReplyError
from turnlatch.sdk.sse import ReplyLimits, Splitter
from turnlatch_states.api.reply import Reply

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 472, "output_tokens": 2, "cache_read_input_tokens": 5},
}
TEXT: dict[str, Any] = {"type": "text", "text": ""}
CALL: dict[str, Any] = {
    "type": "tool_use",
    "id": "toolu_1",
    "name": "weather",
    "input": {},
}


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind} | fields, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def start(**changes: Any) -> bytes:
    return event("message_start", message=MESSAGE | changes)


def opened(index: int, block: dict[str, Any]) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind} | fields)


def closed(index: int) -> bytes:
    return event("content_block_stop", index=index)


def ending(reason: str | None = "end_turn", **fields: Any) -> bytes:
    said: dict[str, Any] = {"stop_reason": reason, "stop_sequence": None}
    return event(
        "message_delta", **({"delta": said, "usage": {"output_tokens": 9}} | fields)
    )


STOP = event("message_stop")
PING = event("ping")

RECORDED = b"".join(
    [
        start(),
        opened(0, {"type": "thinking", "thinking": "", "signature": ""}),
        PING,
        delta(0, "thinking_delta", thinking="Ünder the "),
        delta(0, "thinking_delta", thinking="🌍"),
        delta(0, "signature_delta", signature="EosnCk/=="),
        closed(0),
        opened(1, TEXT),
        delta(1, "text_delta", text='Checking "Oslo"'),
        delta(1, "text_delta", text=" …\n"),
        closed(1),
        opened(2, CALL),
        delta(2, "input_json_delta", partial_json=""),
        delta(2, "input_json_delta", partial_json='{"city": "Os'),
        delta(2, "input_json_delta", partial_json='lo", "n": 1.10}'),
        closed(2),
        ending("tool_use"),
        STOP,
    ]
)
CONTENT = (
    '{"type":"thinking","thinking":"Ünder the 🌍","signature":"EosnCk/=="},'
    '{"type":"text","text":"Checking \\"Oslo\\" …\\n"},'
    '{"type":"tool_use","id":"toolu_1","name":"weather",'
    '"input":{"city": "Oslo", "n": 1.10}}'
).encode()
DELTAS: list[Delta] = [
    BlockOpened(0, "thinking"),
    ThinkingDelta(0, "Ünder the "),
    ThinkingDelta(0, "🌍"),
    BlockClosed(0),
    BlockOpened(1, "text"),
    TextDelta(1, 'Checking "Oslo"'),
    TextDelta(1, " …\n"),
    BlockClosed(1),
    BlockOpened(2, "tool_use", "weather", "toolu_1"),
    InputDelta(2, '{"city": "Os'),
    InputDelta(2, 'lo", "n": 1.10}'),
    BlockClosed(2),
]


def assemble(chunks: list[bytes]) -> tuple[Assembly, list[Delta]]:
    said: list[Delta] = []
    assembly, splitter = Assembly(said.append), Splitter(ReplyLimits())
    for chunk in chunks:
        if not assembly.finished:
            assembly.take(splitter.feed(chunk))
    return assembly, said


def reply(*chunks: bytes) -> Reply:
    assembly, _ = assemble([*chunks])
    assert assembly.whole
    return assembly.reply("req_1")


def block(*deltas: bytes, skeleton: dict[str, Any], reason: str = "end_turn") -> Reply:
    return reply(start(), opened(0, skeleton), *deltas, closed(0), ending(reason), STOP)


def test_recorded_stream_gives_this_reply() -> None:
    found = reply(RECORDED)

    assert found.content == CONTENT
    assert found.stop_reason == "tool_use"
    assert not found.inferred
    assert found.request_id == "req_1"
    assert found.message_id == "msg_1"
    assert (found.usage.input, found.usage.output, found.usage.cache_read) == (
        472,
        9,
        5,
    )
    assert found.tool_uses[0].input == {"city": "Oslo", "n": 1.1}


@given(st.sets(st.integers(0, len(RECORDED)), max_size=30), st.booleans())
def test_any_chunks_give_the_same_reply_and_deltas(
    places: set[int], with_returns: bool
) -> None:
    stream = RECORDED.replace(b"\n", b"\r\n") if with_returns else RECORDED
    edges = [0, *sorted(places), len(stream)]

    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assembly, said = assemble(chunks)

    assert said == DELTAS
    assert assembly.reply("req_1") == reply(RECORDED)


def test_single_bytes_give_the_same_reply_and_deltas() -> None:
    assembly, said = assemble([bytes([byte]) for byte in RECORDED])

    assert said == DELTAS
    assert assembly.reply("req_1") == reply(RECORDED)


def test_cut_at_any_byte_is_whole_only_behind_the_stop_reason() -> None:
    whole_at = RECORDED.index(STOP)
    assembly, splitter = Assembly(lambda _: None), Splitter(ReplyLimits())

    for at in range(len(RECORDED)):
        # Having seen `at` bytes and no more, there is a reply or there is none.
        assert assembly.whole == (at >= whole_at), at
        if assembly.whole:
            cut = assembly.reply("req_1")
            assert cut.inferred
            assert cut.content == CONTENT
        assembly.take(splitter.feed(RECORDED[at : at + 1]))

    assert assembly.finished


RAW = '{"city": "Oslo", "when": [1, 2], "x": null}'


@given(st.integers(0, len(RAW)), st.integers(0, len(RAW)))
def test_truncated_arguments_can_never_run(length: int, middle: int) -> None:
    raw = RAW[:length]
    parts = [raw[:middle], raw[middle:]]

    found = block(
        *(delta(0, "input_json_delta", partial_json=part) for part in parts),
        skeleton=CALL,
        reason="tool_use",
    )

    (call,) = found.tool_uses
    if length == len(RAW):
        assert call.input == json.loads(RAW)
        assert RAW.encode() in found.content
    elif length == 0:
        assert call.input == {}
    else:
        assert call.input is None
        assert call.broken == raw
        assert b'"input":{}' in found.content


@pytest.mark.parametrize(
    "raw",
    ["[1]", "12", "null", '{"a":1}{"b":2}', '{"a":NaN}', '{"a":1,"a":2}', '{"a":1e999}',
     "  ", '{"a":"\ud800"}', '{"a":' * 101 + "1" + "}" * 101],
)  # fmt: skip
def test_arguments_that_are_not_a_strict_object_are_kept_as_text(raw: str) -> None:
    found = block(delta(0, "input_json_delta", partial_json=raw), skeleton=CALL)

    assert found.tool_uses[0].input is None
    assert found.tool_uses[0].broken == raw


@pytest.mark.parametrize("id_", ["call_0", "", None])
def test_unusable_arguments_belong_to_their_call_for_any_id(
    id_: str | None,
) -> None:
    events = [start()]
    for index, raw in enumerate(('{"city":"A"}', '{"city":"B"', '{"city":"C"')):
        piece = delta(index, "input_json_delta", partial_json=raw)
        events += [opened(index, CALL | {"id": id_}), piece, closed(index)]
    found = reply(*events, ending("tool_use"), STOP).tool_uses

    assert [one.input for one in found] == [{"city": "A"}, None, None]
    assert [one.broken for one in found] == [None, '{"city":"B"', '{"city":"C"']
    assert len({one.id for one in found}) == 3


def test_halves_of_a_character_may_come_in_two_deltas() -> None:
    call = block(
        delta(0, "input_json_delta", partial_json='{"a":"\ud83c'),
        delta(0, "input_json_delta", partial_json='\udf0d"}'),
        skeleton=CALL,
    )
    text = block(
        delta(0, "text_delta", text="\ud83c"),
        delta(0, "text_delta", text="\udf0d"),
        skeleton=TEXT,
    )

    assert call.tool_uses[0].input == {"a": "🌍"}
    assert text.text == "🌍"


@pytest.mark.parametrize(
    "skeleton",
    [
        '{"type":"redacted_thinking", "data" : "E\\u006d=="}',
        '{ "type":"from_the_future","n":1.10,"deep":{"a":[ ]}}',
        '{"type":"compaction","content":"all of it","signature":"s\\/"}',
        '{"type":"tool_use","id":"toolu_1","name":"f","input":{"a" : 1E2}}',
        '{"type":"text","text":"caf\\u00e9"}',
    ],
)
def test_block_without_deltas_is_sealed_byte_for_byte(skeleton: str) -> None:
    data = f'{{"type":"content_block_start","index":0,"content_block":{skeleton}}}'
    opening = f"event: content_block_start\ndata: {data}\n\n".encode()

    assert reply(start(), opening, closed(0), ending()).content == skeleton.encode()


def test_members_no_delta_fills_survive_as_they_came() -> None:
    data = (
        '{"index": 0, "type":"content_block_start","content_block":'
        '{"n":1.10, "type":"text", "text":"a", "new":[ 1 ]}}'
    )
    found = reply(
        start(),
        f"event: content_block_start\ndata: {data}\n\n".encode(),
        delta(0, "text_delta", text="b"),
        delta(0, "citations_delta", citation={"cited_text": "c"}),
        closed(0),
        ending(),
        STOP,
    )

    assert found.content == (
        b'{"n":1.10,"type":"text","text":"ab","new":[ 1 ],'
        b'"citations":[{"cited_text":"c"}]}'
    )


def test_compaction_delta_fills_its_block() -> None:
    found = block(
        delta(0, "compaction_delta", content="all of it", encrypted_content="e"),
        skeleton={"type": "compaction", "content": None},
    )

    assert found.content == (
        b'{"type":"compaction","content":"all of it","encrypted_content":"e"}'
    )


def test_later_facts_replace_earlier_ones_unless_they_are_null() -> None:
    fallback = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "claude-y"}}
    found = reply(
        start(container={"id": "c"}),
        opened(0, fallback),
        closed(0),
        ending(
            delta={
                "stop_reason": "refusal",
                "container": None,
                "stop_details": {"n": 1},
            },
            usage={"output_tokens": 3, "input_tokens": None},
            context_management={"applied_edits": []},
        ),
        ending(None, usage={"output_tokens": 4}),
        STOP,
    )

    assert found.stop_reason == "refusal"
    assert found.model == "claude-y"
    assert found.facts["container"] == {"id": "c"}
    assert found.facts["stop_details"] == {"n": 1}
    assert found.facts["context_management"] == {"applied_edits": []}
    assert (found.usage.input, found.usage.output) == (472, 4)


def test_reply_without_blocks_has_no_content() -> None:
    assert reply(start(), ending(), STOP).content == b""


def test_delta_is_read_the_same_with_padding_or_escapes() -> None:
    usual = delta(0, "text_delta", text="a")
    padded = usual.replace(b"}}\n", b"}   }\n")
    spaced = usual.replace(b'"index":0', b'"index": 0')
    unnamed = usual.replace(b"event: content_block_delta\n", b"")
    commented = b": hello\nid: 7\nretry: 1\n" + usual
    two_lines = usual.replace(b',"delta"', b'\ndata: ,"delta"')

    found = block(usual, padded, spaced, unnamed, commented, two_lines, skeleton=TEXT)

    assert found.text == "aaaaaa"


def test_unknown_events_are_ignored_and_so_is_what_follows_the_end() -> None:
    found = reply(
        PING, b"event: news\ndata: no json\n\n", b'data: {"type":"other"}\n\n',
        start(), event("thread_note", index=9), ending(), STOP, start(), b"data: [DONE]\n\n",
    )  # fmt: skip

    assert not found.inferred


@pytest.mark.parametrize(
    ("chunks", "wrong"),
    [
        ([opened(0, TEXT)], "out of order"),
        ([ending()], "out of order"),
        ([STOP], "out of order"),
        ([start(), start()], "second message_start"),
        ([start(), STOP], "without a stop reason"),
        ([start(), ending(None), STOP], "without a stop reason"),
        ([start(), ending(7)], "the stop reason is 7"),  # type: ignore[arg-type]
        ([start(), opened(1, TEXT)], "index 1, not 0"),
        ([start(), opened(0, TEXT), opened(1, TEXT)], "out of order"),
        ([start(), opened(0, TEXT), ending()], "out of order"),
        ([start(), opened(0, TEXT), STOP], "out of order"),
        ([start(), opened(0, TEXT), closed(1)], "index 1, not 0"),
        ([start(), opened(0, TEXT), delta(1, "text_delta", text="a")], "index 1"),
        ([start(), opened(0, TEXT), delta(False, "text_delta", text="a")], "index F"),
        ([start(), delta(0, "text_delta", text="a")], "out of order"),
        ([start(), closed(0)], "out of order"),
        ([start(), ending(), opened(0, TEXT)], "out of order"),
        ([start(), opened(0, TEXT), delta(0, "new_delta", text="a")], "nothing is known"),
        ([start(), opened(0, TEXT), delta(0, "thinking_delta", thinking="")], "fit"),
        ([start(), opened(0, TEXT), delta(0, "text_delta", text=None)], "fit"),
        ([start(), opened(0, {"text": ""})], "no type"),
        ([start(), opened(0, CALL | {"id": 1})], "an id that is not text"),
        ([start(), opened(0, CALL | {"name": None})], "no name"),
        ([start(content=[TEXT])], "content already"),
        ([start(type="other")], "no message"),
        ([event("message_start")], "no message"),
        ([start(), b"event: message_delta\ndata: {\n\n"], "event message_delta"),
        ([start(), b"event: message_stop\ndata: {}x\n\n"], "behind"),
        ([start(), b'event: message_stop\ndata: {"type":"ping"}\n\n'], "carries"),
        ([start(), b"data: [DONE]\n\n"], "no JSON object"),
        ([start(), b"event: message_delta\ndata: {\"a\":1,\"a\":2}\n\n"], "twice"),
    ],
)  # fmt: skip
def test_stream_that_breaks_the_grammar_is_refused(
    chunks: list[bytes], wrong: str
) -> None:
    with pytest.raises(IncompleteReplyError, match=wrong):
        assemble(chunks)


@pytest.mark.parametrize(
    ("data", "envelope"),
    [
        ('{"type":"error","error":{"type":"x"}}', {"type": "error", "error": {"type": "x"}}),
        ("overloaded", "overloaded"),
        ("", None),
    ],
)  # fmt: skip
def test_error_event_is_the_fault_of_the_server(data: str, envelope: object) -> None:
    with pytest.raises(ErrorEnvelopeError) as caught:
        assemble([start(), ending(), f"event: error\ndata: {data}\n\n".encode()])

    assert caught.value.envelope == envelope
