"""The real SDK against the simulator, in the process and over loopback alike."""

import json
from typing import Any

import anthropic
import anyio
import httpx2
import pytest
from tests.engine.simulator.shells import (
    ASK,
    SHELLS,
    TOOLS,
    anyio_backend,
    connected,
    no_environment,
    scripted,
    streamed,
)

from turnlatch.simulator import (
    Answer,
    ApiRequest,
    Scripted,
    Simulator,
    Text,
    Thinking,
    call,
    parse_events,
    reply,
    say_and_call,
    stream_problems,
)
from turnlatch.simulator.grammar import Event

__all__ = ["anyio_backend", "no_environment"]
pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_plain_reply(shell: str) -> None:
    async with connected(shell, scripted("Hi.")) as client:
        message = await client.messages.create(**ASK)

    assert message.content[0].to_dict() == {"type": "text", "text": "Hi."}
    assert message.stop_reason == "end_turn"
    assert message._request_id is not None


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_streamed_reply(shell: str) -> None:
    answer = reply(Thinking("hm"), "Hello there, and welcome to the simulator.")
    async with connected(shell, scripted(answer, answer)) as client:
        events = await streamed(client)
        async with client.messages.stream(**ASK) as stream:
            message = await stream.get_final_message()

    recorded = [Event(event.type, event.to_dict()) for event in events]
    assert stream_problems(recorded) == ()
    assert isinstance(answer.parts[1], Text)
    assert message.content[-1].to_dict()["text"] == answer.parts[1].text
    assert message.content[0].type == "thinking"


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_round_of_tools(shell: str) -> None:
    simulator = scripted(
        say_and_call("Reading.", "read_file", path="a"), "It says 42.", "again"
    )
    async with connected(shell, simulator) as client:
        first = await client.messages.create(**ASK, tools=TOOLS)
        used = first.content[1]
        assert used.type == "tool_use"
        result = {"type": "tool_result", "tool_use_id": used.id, "content": "42"}
        conversation: list[Any] = [
            *ASK["messages"],
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ]
        second = await client.messages.create(
            **{**ASK, "messages": conversation}, tools=TOOLS
        )
        unanswered = [*conversation[:2], {"role": "user", "content": "well?"}]
        with pytest.raises(anthropic.BadRequestError, match=used.id):
            await client.messages.create(**{**ASK, "messages": unanswered}, tools=TOOLS)

    assert first.stop_reason == "tool_use"
    assert second.stop_reason == "end_turn"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_carry_their_headers(shell: str, stream: bool) -> None:
    faults = "429 retry-after=2 x-should-retry=true @1, 529 @2, 400 code=some_code @3"
    async with connected(shell, scripted("Hi.", faults=faults)) as client:
        with pytest.raises(anthropic.RateLimitError) as limited:
            await client.messages.create(**ASK, stream=stream)
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            await client.messages.create(**ASK, stream=stream)
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.messages.create(**ASK, stream=stream)

    assert limited.value.response.headers["retry-after"] == "2"
    assert limited.value.response.headers["x-should-retry"] == "true"
    assert limited.value.request_id is not None
    assert (overloaded.value.status_code, overloaded.value.type) == (
        529,
        "overloaded_error",
    )
    assert refused.value.error_code == "some_code"


async def test_the_sdk_retries_and_the_script_counts_it() -> None:
    simulator = scripted("Hi.", faults="529 retry-after-ms=1 times 2")
    async with connected("transport", simulator, max_retries=2) as client:
        message = await client.messages.create(**ASK)

    assert message.stop_reason == "end_turn"
    assert [exchange.status for exchange in simulator.log] == [529, 529, 200]
    assert len({exchange.raw for exchange in simulator.log}) == 1
    assert simulator.unscripted_rejections() == ()


ENDINGS: dict[str, type[Exception] | None] = {
    "clean": None,
    "eof": httpx2.RemoteProtocolError,
    "reset": httpx2.ReadError,
    "stall": httpx2.ReadTimeout,
}
SPOKEN = reply("Let me look at it.", call("read_file", path="notes.txt"))


def names_of(answer: Answer) -> list[str]:
    """The events of a streamed answer, pings included."""
    headers = (("x-api-key", "k"), ("anthropic-version", "2026-10-21"))
    simulator = Simulator(Scripted([answer]), strict=False)
    body = json.dumps({**ASK, "tools": TOOLS, "stream": True}).encode()
    request = ApiRequest("POST", "/v1/messages", headers, body)
    return [event.name for event in parse_events(simulator.handle(request).body)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("ending", ["clean", "eof", "reset"])
async def test_a_cut_after_every_event(shell: str, ending: str) -> None:
    names = names_of(SPOKEN)
    every = range(len(names))
    faults = ", ".join(f"cut {count} {ending}" for count in every)
    simulator = scripted(*[SPOKEN] * len(names), faults=faults)
    wanted = ENDINGS[ending]
    async with connected(shell, simulator) as client:
        for count in every:
            events = await streamed(client, tools=TOOLS)
            if wanted is not None:
                assert isinstance(events.pop(), wanted)
            told = [name for name in names[:count] if name != "ping"]
            assert [event.type for event in events] == told

    assert simulator.unscripted_rejections() == ()


async def test_a_stall_after_every_event_in_the_process() -> None:
    names = names_of(SPOKEN)
    faults = ", ".join(f"cut {count} stall" for count in range(len(names)))
    simulator = scripted(*[SPOKEN] * len(names), faults=faults)
    async with connected("transport", simulator, timeout=30) as client:
        for count in range(len(names)):
            events = await streamed(client, tools=TOOLS)
            assert isinstance(events.pop(), httpx2.ReadTimeout)
            told = [name for name in names[:count] if name != "ping"]
            assert [event.type for event in events] == told


async def test_a_stall_over_loopback_holds_the_connection_until_the_client_goes() -> (
    None
):
    simulator = scripted("Hi.", "Hi.", faults="cut 3 stall @1")
    async with connected("loopback", simulator) as client:
        stream = await client.messages.create(**ASK, stream=True)
        seen = [await anext(stream) for _ in range(2)]
        waiting = anyio.CancelScope()
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                with waiting:
                    await anext(stream)
                    pytest.fail("something came after the stall")

            group.start_soon(wait)
            # The same server answers others meanwhile.
            assert (await client.messages.create(**ASK)).stop_reason == "end_turn"
            waiting.cancel()
        await stream.close()

    assert [event.type for event in seen] == ["message_start", "content_block_start"]


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_body_cut_at_every_tenth(shell: str) -> None:
    """Half events and half chunks, of streams and of plain replies."""
    percents = range(0, 100, 10)
    faults = ", ".join(f"cut {percent}% eof" for percent in percents)
    simulator = scripted(*["Hi."] * 40, faults=f"{faults}, {faults}")
    async with connected(shell, simulator) as client:
        for _ in percents:
            events = await streamed(client)
            assert isinstance(events.pop(), httpx2.RemoteProtocolError)
            recorded = [Event(event.type, event.to_dict()) for event in events]
            assert "the stream ends while" in stream_problems(recorded)[-1]
        for _ in percents:
            with pytest.raises(anthropic.APIConnectionError) as cut:
                await client.messages.create(**ASK)
            assert isinstance(cut.value.__cause__, httpx2.RemoteProtocolError)


@pytest.mark.parametrize("shell", SHELLS)
async def test_connections_that_end_before_the_headers(shell: str) -> None:
    simulator = scripted("Hi.", faults="reset, eof")
    async with connected(shell, simulator) as client:
        with pytest.raises(anthropic.APIConnectionError) as reset:
            await client.messages.create(**ASK)
        with pytest.raises(anthropic.APIConnectionError) as closed:
            await client.messages.create(**ASK)
        assert (await client.messages.create(**ASK)).stop_reason == "end_turn"

    assert isinstance(reset.value.__cause__, httpx2.ReadError)
    assert isinstance(closed.value.__cause__, httpx2.RemoteProtocolError)
    assert [exchange.status for exchange in simulator.log] == [0, 0, 200]


async def test_late_headers_run_into_the_clients_timeout() -> None:
    simulator = scripted("Hi.", "Hi.", faults="slow headers 5s @1, stall @2")
    async with connected("transport", simulator, timeout=3) as client:
        with pytest.raises(anthropic.APITimeoutError):
            await client.messages.create(**ASK)
        with pytest.raises(anthropic.APITimeoutError):
            await client.messages.create(**ASK)
    patient = scripted("Hi.", faults="slow headers 5s, slow events 1s")
    async with connected("transport", patient, timeout=7) as client:
        assert (await client.messages.create(**ASK)).stop_reason == "end_turn"


@pytest.mark.parametrize("shell", SHELLS)
async def test_an_error_event_after_every_event(shell: str) -> None:
    names = names_of(SPOKEN)
    every = range(len(names))
    faults = ", ".join(f"error overloaded_error after {count}" for count in every)
    simulator = scripted(*[SPOKEN] * len(names), faults=faults)
    async with connected(shell, simulator) as client:
        for count in every:
            events = await streamed(client, tools=TOOLS)
            problem = events.pop()
            assert isinstance(problem, anthropic.APIStatusError)
            assert (problem.status_code, problem.type) == (200, "overloaded_error")
            told = [name for name in names[:count] if name != "ping"]
            assert [event.type for event in events] == told


@pytest.mark.parametrize("shell", SHELLS)
async def test_sdk_raises_for_bodies_that_are_not_an_answer(shell: str) -> None:
    faults = "html 502, truncated json, malformed json, empty 200"
    simulator = scripted(*["Hi."] * 9, faults=f"{faults}, {faults}")
    async with connected(shell, simulator) as client:
        with pytest.raises(anthropic.InternalServerError, match="502 Error") as page:
            await client.messages.create(**ASK)
        for _ in range(3):
            with pytest.raises(json.JSONDecodeError):
                await client.messages.create(**ASK)
        with pytest.raises(anthropic.InternalServerError):
            await client.messages.create(**ASK, stream=True)
        for _ in range(2):
            assert isinstance((await streamed(client))[-1], json.JSONDecodeError)
        assert await streamed(client) == []

    assert page.value.type is None
