"""The real SDK against the simulator, in the process and over loopback alike."""

import json
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import anyio
import httpx2
import pytest

from detent.simulator import (
    Answer,
    ApiRequest,
    Limits,
    Scripted,
    Simulator,
    Text,
    Thinking,
    call,
    parse_events,
    reply,
    run_in_thread,
    say_and_call,
    serve,
    stream_problems,
)
from detent.simulator.grammar import Event
from detent.simulator.transport import (
    SimulatorTransport,
    SyncSimulatorTransport,
    simulated_client,
)

ASK: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 400,
    "messages": [{"role": "user", "content": "hello"}],
}
TOOLS: list[Any] = [
    {
        "name": "read_file",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
    }
]
SHELLS = ("transport", "loopback")

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK reads settings and proxies from the environment."""
    for name in ("API_KEY", "AUTH_TOKEN", "BASE_URL", "CUSTOM_HEADERS", "PROFILE"):
        monkeypatch.delenv(f"ANTHROPIC_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


async def no_sleep(seconds: float) -> None:
    """Time that passes at once; a wait without end would be a bug of the test."""
    assert seconds < math.inf


@asynccontextmanager
async def connected(
    shell: str, simulator: Simulator, **options: Any
) -> AsyncGenerator[Any]:
    """An SDK client of a simulator, over one of the shells.

    It is not typed: what the SDK's overloads say of a call is not under test here.
    """
    settings: dict[str, Any] = {"api_key": "k", "max_retries": 0, **options}
    if shell == "transport":
        transport = SimulatorTransport(simulator, sleep=no_sleep)
        http = httpx2.AsyncClient(transport=transport)
        async with anthropic.AsyncAnthropic(http_client=http, **settings) as client:
            yield client
    else:
        async with (
            serve(simulator, sleep=no_sleep) as server,
            anthropic.AsyncAnthropic(base_url=server.base_url, **settings) as client,
        ):
            yield client


def scripted(*answers: Answer | str, faults: str = "", **options: Any) -> Simulator:
    return Simulator(Scripted(answers), faults=faults, **options)


async def streamed(client: Any, **fields: Any) -> list[Any]:
    """The events of a reply, and the exception that ended it, if one did."""
    events: list[Any] = []
    try:
        stream = await client.messages.create(**{**ASK, **fields}, stream=True)
        async for event in stream:
            events += (event,)
    except (anthropic.APIError, httpx2.HTTPError, ValueError) as problem:
        events.append(problem)
    return events


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
async def test_bodies_that_are_no_answer(shell: str) -> None:
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


@pytest.mark.parametrize("shell", SHELLS)
async def test_threads_are_found_continued_and_lost(shell: str) -> None:
    simulator = scripted(*["Hi."] * 20, faults="expire threads @4")
    async with connected(shell, simulator) as client:
        thread = client.beta.messages.thread(**{**ASK, "messages": []})
        for word in ("one", "two", "three", "four"):
            await thread.send({"role": "user", "content": word})

    bodies: list[Any] = [exchange.body for exchange in simulator.log]
    told = [body["thread"]["type"] for body in bodies]
    # The fourth finds nothing, and the SDK replays the conversation.
    assert told == ["create", "continue", "continue", "continue", "create"]
    assert [exchange.status for exchange in simulator.log] == [200, 200, 200, 404, 200]
    assert simulator.unscripted_rejections() == ()


@pytest.mark.parametrize("shell", SHELLS)
async def test_the_sdk_knows_the_thread_errors(shell: str) -> None:
    betas = ["message-threads-2026-08-12"]
    async with connected(shell, scripted(*["Hi."] * 9)) as client:

        async def onward(previous: str, **fields: Any) -> Any:
            thread: Any = {"type": "continue", "previous_message_id": previous}
            return await client.beta.messages.create(
                **{**ASK, **fields}, thread=thread, betas=betas
            )

        first = await client.beta.messages.create(
            **ASK, thread={"type": "create"}, betas=betas
        )
        with pytest.raises(anthropic.NotFoundError) as missing:
            await onward("msg_01nobody")
        with pytest.raises(anthropic.BadRequestError) as differing:
            await onward(first.id, output_config={"effort": "low"})
        await onward(first.id)
        with pytest.raises(anthropic.BadRequestError) as again:
            await onward(first.id)

    codes = [each.value.error_code for each in (missing, differing, again)]
    assert codes == [
        "thread_not_found",
        "thread_fingerprint_mismatch",
        "thread_already_continued",
    ]


@pytest.mark.parametrize("shell", SHELLS)
async def test_two_continues_at_once(shell: str) -> None:
    betas = ["message-threads-2026-08-12"]
    slowly = reply("slowly " * 30)
    simulator = scripted("Hi.", slowly, "Hi.", faults="cut 4 stall @2")
    async with connected(shell, simulator) as client:
        first = await client.beta.messages.create(
            **ASK, thread={"type": "create"}, betas=betas
        )
        thread: Any = {"type": "continue", "previous_message_id": first.id}
        slow = await client.beta.messages.create(
            **ASK, thread=thread, betas=betas, stream=True
        )
        await anext(slow)
        with pytest.raises(anthropic.BadRequestError) as flying:
            await client.beta.messages.create(**ASK, thread=thread, betas=betas)
        await slow.close()

    assert flying.value.error_code == "thread_continue_in_flight"


async def test_a_continue_the_client_gave_up_is_over() -> None:
    betas = ["message-threads-2026-08-12"]
    simulator = scripted(*["Hi."] * 3, faults="slow headers 9s @2")
    async with connected("transport", simulator, timeout=3) as client:
        first = await client.beta.messages.create(
            **ASK, thread={"type": "create"}, betas=betas
        )
        thread: Any = {"type": "continue", "previous_message_id": first.id}
        with pytest.raises(anthropic.APITimeoutError):
            await client.beta.messages.create(**ASK, thread=thread, betas=betas)
        with pytest.raises(anthropic.BadRequestError) as again:
            await client.beta.messages.create(**ASK, thread=thread, betas=betas)

    assert again.value.error_code == "thread_already_continued"


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_summary_there_and_back_and_tampered_with(shell: str) -> None:
    betas = ["compact-2026-09-04"]
    async with connected(shell, scripted("Hi.", "Hi.")) as client:
        made = await client.beta.messages.create(
            **ASK, compaction={"type": "summarize"}, betas=betas
        )
        block = made.content[0]
        assert block.type == "compaction"
        onward = [{"role": "assistant", "content": [block]}, *ASK["messages"]]
        adopted = await client.beta.messages.create(
            **{**ASK, "messages": onward}, betas=betas
        )
        touched = {**block.to_dict(), "content": "other"}
        onward[0] = {"role": "assistant", "content": [touched]}
        with pytest.raises(anthropic.BadRequestError) as refused:
            await client.beta.messages.create(
                **{**ASK, "messages": onward}, betas=betas
            )

    assert (made.stop_reason, adopted.stop_reason) == ("compaction", "end_turn")
    assert refused.value.error_code == "compaction_content_mismatch"


@pytest.mark.parametrize("shell", SHELLS)
async def test_thinking_there_and_back_and_tampered_with(shell: str) -> None:
    ask = {**ASK, "model": "claude-opus-5-5"}
    answer = reply(Thinking("hm"), "Hi.")
    async with connected(shell, scripted(answer, answer, answer)) as client:
        async with client.messages.stream(**ask) as stream:
            first = await stream.get_final_message()
        onward: list[Any] = [
            *ASK["messages"],
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": "more"},
        ]
        await client.messages.create(**{**ask, "messages": onward})
        with pytest.raises(anthropic.BadRequestError, match="different conversation"):
            await client.messages.create(**{**ask, "messages": onward}, system="x")
        thought = {**first.content[0].to_dict(), "signature": "QUJD"}
        onward[1] = {"role": "assistant", "content": [thought, first.content[1]]}
        with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
            await client.messages.create(**{**ask, "messages": onward})


@pytest.mark.parametrize("shell", SHELLS)
async def test_models_and_token_counts(shell: str) -> None:
    async with connected(shell, Simulator()) as client:
        counted = await client.messages.count_tokens(
            model=ASK["model"], messages=ASK["messages"]
        )
        beta = await client.beta.messages.count_tokens(
            model=ASK["model"], messages=ASK["messages"]
        )
        names = [model.id async for model in client.models.list(limit=5)]
        model = await client.models.retrieve("claude-haiku-4-5")
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("nobody")

    assert counted.input_tokens == beta.input_tokens == 6
    assert len(names) == len(set(names)) > 5
    assert (model.max_input_tokens, model.lifecycle) == (200_000, "active")


@pytest.mark.parametrize("shell", SHELLS)
async def test_who_asks_how_and_how_much(shell: str) -> None:
    simulator = Simulator(keys={"right"}, limits=Limits(request_bytes_max=2_000))
    long = [{"role": "user", "content": "x" * 3_000}]
    async with connected(shell, simulator, api_key="right") as client:
        await client.messages.create(**ASK)
        with pytest.raises(anthropic.AuthenticationError):
            await client.with_options(api_key="wrong").messages.create(**ASK)
        with pytest.raises(anthropic.BadRequestError, match="anthropic-version"):
            await client.messages.create(**ASK, extra_headers={"anthropic-version": ""})
        with pytest.raises(anthropic.BadRequestError, match="`no-2020-01-01`"):
            await client.beta.messages.create(**ASK, betas=["no-2020-01-01"])
        with pytest.raises(anthropic.APIStatusError) as large:
            await client.messages.create(**{**ASK, "messages": long})
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.create(**{**ASK, "model": "nobody"})
        with pytest.raises(anthropic.BadRequestError, match="Extra inputs"):
            await client.messages.create(**ASK, extra_body={"temperature": 1})
        await client.messages.create(**ASK)

    assert (large.value.status_code, large.value.type) == (413, "request_too_large")


def test_the_synchronous_sdk_over_both_shells() -> None:
    def talk(client: Any) -> list[Any]:
        plain = client.messages.create(**ASK)
        with client.messages.stream(**ASK) as stream:
            whole = stream.get_final_message()
        with pytest.raises(anthropic.RateLimitError):
            client.messages.create(**ASK)
        with pytest.raises(httpx2.RemoteProtocolError):
            list(client.messages.create(**ASK, stream=True))
        with pytest.raises(anthropic.APIConnectionError):
            client.messages.create(**ASK)
        return [plain.to_dict(), whole.to_dict()]

    def simulator() -> Simulator:
        return Simulator(faults="429 @3, cut 3 eof @4, reset @5")

    transport = SyncSimulatorTransport(simulator(), sleep=lambda _: None)
    http = httpx2.Client(transport=transport)
    with anthropic.Anthropic(api_key="k", max_retries=0, http_client=http) as client:
        inside = talk(client)
    with (
        run_in_thread(simulator()) as server,
        anthropic.Anthropic(
            api_key="k", max_retries=0, base_url=server.base_url
        ) as client,
    ):
        outside = talk(client)
    assert inside == outside


def test_the_synchronous_transport_stalls_in_its_own_time() -> None:
    slept: list[float] = []
    simulator = Simulator(faults="stall @1, slow headers 2s @2")
    transport = SyncSimulatorTransport(simulator, sleep=slept.append)
    http = httpx2.Client(transport=transport)
    settings: Any = {"api_key": "k", "max_retries": 0, "timeout": 9}
    client: Any = anthropic.Anthropic(http_client=http, **settings)
    with pytest.raises(anthropic.APITimeoutError):
        client.messages.create(**ASK)
    client.messages.create(**ASK)
    client.close()

    assert slept == [9.0, 2.0]


async def test_both_shells_give_the_same_bytes() -> None:
    script = "429 @2, cut 5 clean @4, cut 50% eof @6, error after 3 @8, html 502 @9"

    async def talk(client: httpx2.AsyncClient, base_url: str) -> list[Any]:
        seen: list[Any] = []
        for number in range(10):
            data = json.dumps({**ASK, "stream": number % 2 == 1}).encode()
            headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
            body = b""
            async with client.stream(
                "POST", f"{base_url}/v1/messages", content=data, headers=headers
            ) as response:
                try:
                    async for part in response.aiter_raw():
                        body += part
                except httpx2.HTTPError as problem:
                    seen.append(type(problem).__name__)
            told = dict(response.headers)
            told.pop("transfer-encoding", None)
            seen.append((response.status_code, told, body))
        return seen

    transport = SimulatorTransport(Simulator(seed=11, faults=script), sleep=no_sleep)
    async with httpx2.AsyncClient(transport=transport) as client:
        inside = await talk(client, "http://here")
    async with (
        serve(Simulator(seed=11, faults=script), sleep=no_sleep) as server,
        httpx2.AsyncClient() as client,
    ):
        outside = await talk(client, server.base_url)
    assert inside == outside


async def test_the_ready_made_client_needs_nothing() -> None:
    client: Any = simulated_client(Simulator())
    message = await client.messages.create(**ASK)
    await client.close()

    assert message.stop_reason in ("end_turn", "tool_use")
    assert client.max_retries == 0


async def test_a_tool_runner_of_the_sdk_runs_to_its_end() -> None:
    simulator = Simulator(Scripted([call("add", a=1, b=2), "It is 3."]))

    @anthropic.beta_async_tool
    async def add(a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    client: Any = simulated_client(simulator)
    last = await client.beta.messages.tool_runner(**ASK, tools=[add]).until_done()
    await client.close()

    assert last.content[-1].to_dict()["text"] == "It is 3."
    assert simulator.unscripted_rejections() == ()


def test_the_transport_runs_under_trio() -> None:
    async def talk() -> list[str]:
        simulator = Simulator(Scripted(["Hi."] * 3), faults="cut 3 eof @2, stall @3")
        client: Any = simulated_client(simulator, sleep=no_sleep)
        first = await client.messages.create(**ASK)
        seen = [first.stop_reason]
        seen += [type((await streamed(client))[-1]).__name__ for _ in range(1)]
        with pytest.raises(anthropic.APITimeoutError):
            await client.messages.create(**ASK)
        await client.close()
        return seen

    assert anyio.run(talk, backend="trio") == ["end_turn", "RemoteProtocolError"]
