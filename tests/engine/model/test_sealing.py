"""Sealing: strict about what it accepts, exact about what it keeps."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.sdk.sealing import (
    DEPTH_MAX,
    ErrorEnvelopeError,
    IncompleteReplyError,
    members,
    read,
    seal,
)

spaces = st.text(" \t\r\n", max_size=2)
escaped = st.text(max_size=8).map(json.dumps)
numbers = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "-"]),
        st.integers(0, 10**20).map(str),
        st.sampled_from(["", ".0", ".10", ".000000001"]),
        st.sampled_from(["", "e5", "E-7", "e+00"]),
    ),
)
safe = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.one_of(
    safe.map(lambda text: json.dumps(text, ensure_ascii=False)),
    escaped,
    numbers,
    st.sampled_from(["true", "false", "null", r'"\ud800"', r'"\/\u0041"', "1E5"]),
)


@st.composite
def spaced(draw: st.DrawFn, parts: list[str], opening: str, closing: str) -> str:
    inside = ",".join(draw(spaces) + part + draw(spaces) for part in parts)
    return opening + (inside or draw(spaces)) + closing


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    found = draw(st.dictionaries(safe, values, max_size=3))
    parts = [
        json.dumps(name, ensure_ascii=draw(st.booleans()))
        + draw(spaces)
        + ":"
        + draw(spaces)
        + value
        for name, value in found.items()
    ]
    return draw(spaced(parts, "{", "}"))


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    return draw(spaced(draw(st.lists(values, max_size=3)), "[", "]"))


anything = st.recursive(scalars, lambda v: objects(v) | arrays(v), max_leaves=8)


@st.composite
def blocks(draw: st.DrawFn) -> str:
    parts = [
        f'"type"{draw(spaces)}:{draw(spaces)}"{draw(st.sampled_from(["text", "new"]))}"',
        f'"odd"{draw(spaces)}:{draw(spaces)}{draw(anything)}',
    ]
    return draw(spaced(draw(st.permutations(parts)), "{", "}"))


@given(st.lists(blocks(), max_size=3), anything, st.data())
def test_content_is_the_inside_of_the_servers_array(
    content: list[str], other: str, data: st.DataObject
) -> None:
    inside = ",".join(data.draw(spaces) + one + data.draw(spaces) for one in content)
    parts = [
        '"type":"message"',
        '"id" : "msg_1"',
        f'"content"{data.draw(spaces)}:{data.draw(spaces)}[{inside}]',
        '"stop_reason":"end_turn"',
        f'"other":{other}',
    ]
    body = data.draw(spaced(data.draw(st.permutations(parts)), "{", "}"))

    reply = seal(body.encode(), "req_1")

    assert reply.content == inside.encode()
    assert f'"other":{other}'.encode() in reply.meta
    assert reply.facts["request_id"] == "req_1"
    assert reply.facts["end"] == "stop"
    assert reply.stop_reason == "end_turn"


@given(objects(anything))
def test_members_are_slices_of_the_text(text: str) -> None:
    found, end = members(text)

    assert end == len(text)
    assert {name: one.value for name, one in found.items()} == json.loads(text)
    for name, one in found.items():
        assert json.loads(one.name) == name
        assert text[one.at : one.at + len(one.raw)] == one.raw


def message(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
    }
    fields |= changes
    return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()


CALL: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"", "the body is empty"),
        (b"<html><title> Just a\n moment </title>", "HTML page: Just a moment"),
        (b"upstream is gone", "the body is text: upstream is gone"),
        (b'{"id":"msg_1","type":"mess', "JSON|member"),
        (b"[]", "no JSON object"),
        (b"\xff", "not UTF-8"),
        (message() + b"{}", "behind the JSON"),
        (message()[:-1] + b',"id":"msg_2"}', "twice"),
        (message()[:-1] + b',"x":{"a":1,"a":2}}', "twice"),
        (message()[:-1] + b',"x":NaN}', "NaN is not JSON"),
        (message()[:-1] + b',"x":-Infinity}', "Infinity is not JSON"),
        (message()[:-1] + b',"x":1e999}', "out of range"),
        (message()[:-1] + b',"x":' + b"9" * 5000 + b"}", "limit"),
        (message()[:-1] + b',"x":' + b"[" * 100_000 + b"}", "deeper|JSON"),
        (message()[:-1] + b',"x":' + b"[" * 120 + b"]" * 120 + b"}", "deeper"),
        (message()[:-1] + b',"x":"a\nb"}', "control character"),
        (message()[:-1] + b",}", "no name"),
        (message(type="completion"), 'not "message"'),
        (message(stop_reason=None), "no stop reason"),
        (message(stop_reason=...), "no stop reason"),
        (message(content=None), "no list of content"),
        (message(content=...), "no list of content"),
        (b'{"id":"c","object":"chat.completion","choices":[]}', "OpenAI"),
        (message(content=["hi"]), "not an object"),
        (message(content=[{"text": "hi"}]), "no type"),
        (message(content=[CALL | {"id": 1}]), "an id that is not text"),
        (message(content=[CALL | {"name": None}]), "no name"),
    ],
)
def test_incomplete_reply_is_refused(body: bytes, wrong: str) -> None:
    with pytest.raises(IncompleteReplyError, match=wrong):
        seal(body, None)


def test_empty_content_is_sealed_as_no_bytes_with_any_spaces() -> None:
    assert seal(message(content=[]).replace(b"[]", b"[ \n ]"), None).content == b""


def test_input_that_is_not_an_object_is_kept_and_cannot_run() -> None:
    reply = seal(message(content=[CALL | {"input": "x"}]), None)

    assert b'"input": "x"' in reply.content
    assert reply.tool_uses[0].input is None


def test_names_of_the_adapter_are_not_the_servers() -> None:
    reply = seal(message(end="forged", broken={"a": "b"}, request_id="req_b"), None)

    assert reply.facts["end"] == "stop"
    assert "broken" not in reply.facts
    assert reply.request_id == "req_b"


def test_error_envelope_in_a_200_is_the_fault_of_the_server() -> None:
    with pytest.raises(ErrorEnvelopeError) as caught:
        seal(b'{"type":"error","error":{"type":"api_error"}}', None)

    assert caught.value.envelope == {"type": "error", "error": {"type": "api_error"}}


def test_depth_is_counted_exactly() -> None:
    assert read("[" * DEPTH_MAX + "]" * DEPTH_MAX) is not None
    assert read("[" + "[]," * 500 + "[]]") is not None
    with pytest.raises(IncompleteReplyError, match="deeper"):
        read("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))
