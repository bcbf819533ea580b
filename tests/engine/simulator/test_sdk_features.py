"""Threads, summaries, thinking, counts and both SDKs, over both shells."""

import json
from typing import Any

import anthropic
import anyio
import httpx2
import pytest
from tests.engine.simulator.shells import (
    ASK,
    SHELLS,
    anyio_backend,
    connected,
    no_environment,
    no_sleep,
    scripted,
    streamed,
)

from turnlatch.simulator import (
    ApiLimits,
    Scripted,
    Simulator,
    Thinking,
    call,
    reply,
    run_in_thread,
    serve,
    server_call,
    server_result,
)
from turnlatch.simulator.transport import (
    SimulatorTransport,
    SyncSimulatorTransport,
    simulated_client,
)

__all__ = ["anyio_backend", "no_environment"]
pytestmark = pytest.mark.anyio


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
async def test_a_paused_turn_there_and_back(shell: str) -> None:
    whole = reply(server_result("https://example.org/news"), "So.")
    simulator = scripted(server_call("web_search", query="x"), whole)
    ask = {**ASK, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    async with connected(shell, simulator) as client:
        async with client.messages.stream(**ask) as stream:
            paused = await stream.get_final_message()
        back = {"role": "assistant", "content": paused.content}
        last = await client.messages.create(
            **{**ask, "messages": [*ASK["messages"], back]}
        )

    assert (paused.stop_reason, last.stop_reason) == ("pause_turn", "end_turn")
    assert last.content[0].tool_use_id == paused.content[0].id
    assert simulator.unscripted_rejections() == ()


@pytest.mark.parametrize("shell", SHELLS)
async def test_cached_prefix_is_read(shell: str) -> None:
    simulator = scripted("Hi.", "Hi.")
    ask = {**ASK, "system": "s" * 4_000, "cache_control": {"type": "ephemeral"}}
    async with connected(shell, simulator) as client:
        async with client.messages.stream(**ask) as stream:
            first = await stream.get_final_message()
        second = await client.messages.create(**ask)

    written = first.usage.cache_creation_input_tokens
    assert (written, first.usage.cache_creation.ephemeral_5m_input_tokens) == (
        1_006,
    ) * 2
    assert (second.usage.cache_read_input_tokens, second.usage.input_tokens) == (
        1_006,
        0,
    )


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
async def test_sdk_raises_its_errors_for_wrong_keys_versions_and_sizes(
    shell: str,
) -> None:
    simulator = Simulator(keys={"right"}, limits=ApiLimits(request_bytes_max=2_000))
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
