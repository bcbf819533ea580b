"""Answers in other shapes: what can be used is used and told truly; what cannot be is not
waited out, and whoever reads the fault knows where it came from and what was missing."""

import json
from collections.abc import Sequence
from typing import Any

import anthropic
import httpx2
import pytest

from turnlatch import Conversation, FaultKind, Turn, TurnState
from turnlatch.ports import RequestFailedError
from turnlatch.sdk.sdk_model import SdkModel
from turnlatch.testing import SeededIds, VirtualClock
from turnlatch_states.recovery.rung import MALFORMED_MAX

from .wire import SSE, Body, ask, ignore

pytestmark = pytest.mark.anyio

URL = "https://user:hunter2@gateway.test/v1?key=hunter2"
SHOWN = "https://gateway.test/v1"


class Peer(httpx2.AsyncBaseTransport):
    """Answers with these bodies, one a request, and then with the last again."""

    def __init__(self, *bodies: bytes, type_: str) -> None:
        self.bodies = bodies
        self.type = type_
        self.asked: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(json.loads(await request.aread()))
        body = self.bodies[min(len(self.asked), len(self.bodies)) - 1]
        headers = {"content-type": self.type}
        return httpx2.Response(200, headers=headers, stream=Body([body]))


def client(peer: httpx2.AsyncBaseTransport) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        api_key="k", base_url=URL, http_client=httpx2.AsyncClient(transport=peer)
    )


def opened(peer: Peer, **options: Any) -> Conversation:
    return Conversation.open(
        "a", client=client(peer), clock=VirtualClock(), ids=SeededIds(), **options
    )


async def said(chat: Conversation, words: str, *, stream: bool) -> Turn:
    return await (chat.stream(words).turn() if stream else chat.send(words))


USAGE = {"input_tokens": 9, "output_tokens": 2}
WHOLE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "usage": USAGE,
}


def body(**changes: Any) -> bytes:
    """A reply as JSON, with other members; `...` for one that is missing."""
    return json.dumps(
        {k: v for k, v in (WHOLE | changes).items() if v is not ...}
    ).encode()


def events(*parts: dict[str, Any] | str) -> bytes:
    """A stream of these events; a text stands as it is."""
    return b"".join(
        (
            f"data: {part}\n\n"
            if isinstance(part, str)
            else f"event: {part['type']}\ndata: {json.dumps(part)}\n\n"
        ).encode()
        for part in parts
    )


NO_BLOCKS: list[Any] = []


def start(**changes: Any) -> dict[str, Any]:
    message: dict[str, Any] = (
        WHOLE | {"content": NO_BLOCKS, "stop_reason": None} | changes
    )
    kept = {k: v for k, v in message.items() if v is not ...}
    return {"type": "message_start", "message": kept}


def block(index: int, text: str = "hi") -> list[dict[str, Any]]:
    made = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": text}
    return [
        {"type": "content_block_start", "index": index, "content_block": made},
        {"type": "content_block_delta", "index": index, "delta": delta},
        {"type": "content_block_stop", "index": index},
    ]


def ending(**delta: Any) -> dict[str, Any]:
    said = {"stop_reason": "end_turn"} | delta
    return {"type": "message_delta", "delta": said, "usage": {"output_tokens": 2}}


STOP: dict[str, Any] = {"type": "message_stop"}


def stream(**changes: Any) -> bytes:
    return events(start(**changes), *block(0), ending(), STOP)


IDS: dict[str, dict[str, Any]] = {
    "no id": {"id": ...},
    "a null id": {"id": None},
    "a number for an id": {"id": 7},
    "an empty id": {"id": ""},
    "an id of another's": {"id": "chatcmpl-1"},
    "no type": {"type": ...},
    "no role and no model": {"role": ..., "model": ...},
}

USABLE: dict[str, tuple[bool, bytes]] = {
    **{f"{name}, whole": (False, body(**made)) for name, made in IDS.items()},
    **{f"{name}, streamed": (True, stream(**made)) for name, made in IDS.items()},
    "content that is a text": (False, body(content="hi")),
    "[DONE] for the end": (True, events(start(), *block(0), ending(), "[DONE]")),
    "[DONE] behind the end": (
        True,
        events(start(), *block(0), ending(), STOP, "[DONE]"),
    ),
}


@pytest.mark.parametrize("shape", USABLE)
async def test_usable_reply_is_used_at_once(shape: str) -> None:
    streamed, answer = USABLE[shape]
    peer = Peer(answer, type_=SSE if streamed else "application/json")
    async with opened(peer, threads="on") as chat:
        for number in range(3):
            turn = await said(chat, f"{number}", stream=streamed)
            assert turn.state is TurnState.CONFIRMED
            assert turn.text == "hi"
        assert len(peer.asked) == 3
        given = "msg_1" if "id" not in shape or "end" in shape else None
        for request in peer.asked[1:]:
            assert request["diagnostics"]["previous_message_id"] == given
        if given is None:  # nothing can be continued that has no name
            assert all(one["thread"]["type"] == "create" for one in peer.asked)
        assert len(peer.asked[-1]["messages"]) == 5
        assert chat.check() == ()


async def test_a_text_for_content_is_a_block_of_exactly_that_text() -> None:
    raw = rb'"h\u0069 \ud83d\ude00"'
    answer = body(content="@").replace(b'"@"', raw)
    reply = await SdkModel(client(Peer(answer, type_="application/json"))).send(
        ask(stream=False), ignore
    )

    assert reply.content == b'{"type":"text","text":' + raw + b"}"
    assert reply.facts["adapted"] == "content"
    assert reply.text == "hi \U0001f600"


async def test_an_end_that_others_write_is_inferred() -> None:
    for end, inferred in (("[DONE]", True), (STOP, False)):
        answer = events(start(), *block(0), ending(), end)
        reply = await SdkModel(client(Peer(answer, type_=SSE))).send(ask(), ignore)
        assert reply.inferred is inferred


OPENAI: dict[str, Any] = {
    "id": "c",
    "object": "chat.completion",
    "choices": [{"message": {}}],
}
UNUSABLE: dict[str, tuple[bool, bytes, str]] = {
    "no content": (False, body(content=...), "no list of content"),
    "content null": (False, body(content=None), "no list of content"),
    "no stop reason": (False, body(stop_reason=None), "no stop reason"),
    "another type": (False, body(type="completion"), "the type 'completion'"),
    "a block without type": (False, body(content=[{"text": "a"}]), "has no type"),
    "a key twice": (False, body()[:-1] + b',"id":"msg_2"}', "a key appears twice"),
    "another format": (False, json.dumps(OPENAI).encode(), "OpenAI"),
    "another format, streamed": (
        True,
        events(json.dumps(OPENAI), "[DONE]"),
        "OpenAI",
    ),
    "blocks from 1": (True, events(start(), *block(1), ending(), STOP), "index 1"),
    "blocks interleaved": (
        True,
        events(start(), block(0)[0], *block(1), *block(0)[1:], ending(), STOP),
        "out of order",
    ),
    "the end before the last block": (
        True,
        events(start(), *block(0)[:2], ending(), block(0)[2], STOP),
        "out of order",
    ),
    "content at the start": (
        True,
        events(start(content=WHOLE["content"]), ending(), STOP),
        "carries content already",
    ),
    "a stop reason at the start only": (
        True,
        events(
            start(stop_reason="end_turn"), *block(0), ending(stop_reason=None), STOP
        ),
        "without a stop reason",
    ),
}


@pytest.mark.parametrize("shape", UNUSABLE)
async def test_an_answer_in_another_format_is_not_waited_out(shape: str) -> None:
    """It costs three requests a message, and says what was wrong and where."""
    streamed, answer, missing = UNUSABLE[shape]
    peer = Peer(answer, type_=SSE if streamed else "application/json")
    async with opened(peer) as chat:
        for number in range(1, 3):
            turn = await said(chat, "Hello", stream=streamed)
            assert turn.state is TurnState.FAILED
            assert turn.fault is not None
            assert turn.fault.kind is FaultKind.TRANSIENT
            assert missing in turn.fault.message
            assert SHOWN in turn.fault.message
            assert "hunter2" not in str(turn.fault)
            assert len(peer.asked) == MALFORMED_MAX * number
        assert len(chat.history) == 0
        assert chat.check() == ()


async def asked_for(answers: Sequence[bytes]) -> int:
    """How many requests are made for answers that are no replies."""
    peer = Peer(*answers, type_="application/json")
    async with opened(peer) as chat:
        await chat.send("Hello")
    return len(peer.asked)


async def test_passing_fault_is_waited_out() -> None:
    """A page, an empty body, a cut: nothing says that the next answer will be like it.
    Nor do complaints of which no three in a row are alike."""
    page, cut = b"<html><title>Wait</title></html>", body()[:40]
    for passing in (page, b"", cut):
        assert await asked_for([passing]) == 8
    mixed = [body(content=None), body(stop_reason=None), page] * 3
    assert await asked_for(mixed) == 8
    assert await asked_for([body(content=None), body(content=None), body()]) == 3


async def test_a_caller_who_asks_again_is_given_as_much_again() -> None:
    peer = Peer(*[body(content=None)] * 5, body(), type_="application/json")
    async with opened(peer) as chat:
        await chat.send("Hello")
        turn = await chat.retry()

        assert turn.state is TurnState.CONFIRMED
        assert len(peer.asked) == 6


class Dead(httpx2.AsyncBaseTransport):
    """Fails every connection."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("All connection attempts failed"),
        httpx2.ReadError(""),
        httpx2.ConnectTimeout("too late"),
        httpx2.RemoteProtocolError("Server disconnected"),
    ],
)
async def test_a_connection_that_fails_says_where_to(error: Exception) -> None:
    with pytest.raises(RequestFailedError) as failed:
        await SdkModel(client(Dead(error))).send(ask(), ignore)

    said = failed.value.fault.message
    assert said.startswith(type(error).__name__)
    assert said.endswith(f"({SHOWN})")
    assert "hunter2" not in str(failed.value.fault)


async def test_a_status_without_the_envelope_reads_as_one() -> None:
    class Door(httpx2.AsyncBaseTransport):
        async def handle_async_request(
            self, request: httpx2.Request
        ) -> httpx2.Response:
            return httpx2.Response(401, json={"error": "Unauthorized"})

    with pytest.raises(RequestFailedError) as failed:
        await SdkModel(client(Door())).send(ask(), ignore)

    assert str(failed.value.fault) == "401: Unauthorized"
