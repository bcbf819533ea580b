"""Tools the service runs itself: a paused turn there and back, and torn apart."""

import json
from typing import Any

import pytest

from turnlatch.simulator import (
    Answer,
    ApiRequest,
    ClientCall,
    Scripted,
    ServerCall,
    ServerResult,
    Simulator,
    call,
    parse_events,
    reply,
    server_call,
    server_result,
    stream_problems,
    think,
)

ASK = {"role": "user", "content": "What is new?"}
SEARCH: Any = {"type": "web_search_20250305", "name": "web_search"}
LOOK: Any = {"name": "look", "input_schema": {"type": "object"}}
URL = "https://example.org/news"
THREADS = "message-threads-2026-08-12"


def send(simulator: Simulator, *messages: Any, **fields: Any) -> tuple[int, Any]:
    body = {
        "model": "claude-opus-5",
        "max_tokens": 400,
        "tools": [SEARCH, LOOK],
        "messages": list(messages),
        **fields,
    }
    headers = (
        ("x-api-key", "k"),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-beta", THREADS),
    )
    data = json.dumps({key: each for key, each in body.items() if each is not None})
    request = ApiRequest("POST", "/v1/messages", headers, data.encode())
    response = simulator.handle(request)
    simulator.finish(response)
    if body.get("stream"):
        return response.status, parse_events(response.body)
    return response.status, json.loads(response.body)


def said(message: Any) -> Any:
    return {"role": "assistant", "content": message["content"]}


def started(*rest: Answer | str, first: Answer | None = None) -> tuple[Simulator, Any]:
    """A simulator whose first reply has paused, and that reply."""
    paused = first or reply(
        "Searching.", server_call("web_search", query="x"), stop_reason="pause_turn"
    )
    simulator = Simulator(Scripted([paused, *rest]))
    status, message = send(simulator, ASK)
    assert status == 200
    return simulator, message


def test_a_server_call_pauses_the_turn() -> None:
    _, message = started(first=server_call("web_search", query="x"))

    [block] = message["content"]
    assert message["stop_reason"] == "pause_turn"
    assert block.pop("id").startswith("srvtoolu_01")
    assert block == {
        "type": "server_tool_use",
        "name": "web_search",
        "input": {"query": "x"},
        "caller": {"type": "direct"},
    }


def test_a_paused_turn_goes_back_as_it_came_and_goes_on_with_the_result() -> None:
    simulator, paused = started(reply(server_result(URL), "It rains."), "Bye.")

    status, rest = send(simulator, ASK, said(paused))

    assert (status, rest["stop_reason"]) == (200, "end_turn")
    result, words = rest["content"]
    assert result["type"] == "web_search_tool_result"
    assert result["tool_use_id"] == paused["content"][1]["id"]
    assert [page["url"] for page in result["content"]] == [URL]
    assert words["text"] == "It rains."
    # The two halves of the turn, and the next one, are history like any other.
    thanks = {"role": "user", "content": "Thanks."}
    assert send(simulator, ASK, said(paused), said(rest), thanks)[0] == 200
    assert simulator.unscripted_rejections() == ()


@pytest.mark.parametrize(
    "between",
    [
        [{"role": "user", "content": "And?"}],
        [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "…"}],
    ],
    ids=["user", "user and assistant"],
)
def test_nothing_may_be_put_into_a_paused_turn(between: list[Any]) -> None:
    simulator, paused = started("no")

    status, body = send(simulator, ASK, said(paused), *between)

    assert status == 400
    call_id = paused["content"][1]["id"]
    assert body["error"]["message"].startswith(
        f"messages.1: `web_search` tool use with id `{call_id}` was found without a"
        " corresponding `web_search_tool_result` block"
    )


def test_no_system_message_may_follow_a_paused_turn() -> None:
    simulator, paused = started("no")

    status, body = send(
        simulator, ASK, said(paused), {"role": "system", "content": "Be brief."}
    )

    assert (status, "messages.2: role 'system' must" in body["error"]["message"]) == (
        400,
        True,
    )


def test_a_result_that_lost_its_call_is_refused() -> None:
    simulator, paused = started(server_result(URL), "no")
    _, rest = send(simulator, ASK, said(paused))

    status, body = send(simulator, ASK, said(rest), {"role": "user", "content": "And?"})

    assert (status, "unexpected `tool_use_id`" in body["error"]["message"]) == (
        400,
        True,
    )


def test_the_tool_has_to_be_there_when_the_turn_goes_on() -> None:
    simulator, paused = started("no")

    status, body = send(simulator, ASK, said(paused), tools=[LOOK])

    assert status == 400
    assert body["error"]["message"].endswith("but no `web_search` tool was provided")


def test_a_result_may_come_in_the_same_reply() -> None:
    whole = reply(server_call("web_search", query="x"), server_result(URL), "So.")
    _, message = started(first=whole)

    used, result, _ = message["content"]
    assert message["stop_reason"] == "end_turn"
    assert result["tool_use_id"] == used["id"]


def test_results_are_linked_in_the_order_of_the_calls_or_by_id() -> None:
    calls = reply(
        server_call("web_search", query="x"),
        ServerCall("web_search", {"query": "y"}, "srvtoolu_mine"),
        server_call("web_search", query="z"),
    )
    simulator, paused = started(
        reply(server_result(id="srvtoolu_mine"), server_result(URL), server_result()),
        first=calls,
    )
    ids = [block["id"] for block in paused["content"]]

    status, rest = send(simulator, ASK, said(paused))

    linked = [block["tool_use_id"] for block in rest["content"]]
    assert (status, linked) == (200, [ids[1], ids[0], ids[2]])


def test_result_without_a_call_is_an_error_of_the_script() -> None:
    simulator = Simulator(Scripted([reply(server_result(URL), "So.")]))

    status, body = send(simulator, ASK)

    assert (status, body["error"]["type"]) == (500, "api_error")
    assert "put a server_call before it" in body["error"]["message"]


def test_a_search_may_fail_and_other_tools_have_other_results() -> None:
    ran: Any = {
        "type": "code_execution_result",
        "content": [],
        "return_code": 0,
        "stderr": "",
        "stdout": "3",
    }
    whole = reply(
        server_call("web_search", query="x"),
        server_result(error="max_uses_exceeded"),
        server_call("code_execution", code="1+2"),
        ServerResult("code_execution_tool_result", ran),
        "3.",
    )
    simulator, message = started("Bye.", first=whole)

    failed = message["content"][1]["content"]
    assert failed["error_code"] == "max_uses_exceeded"
    assert send(simulator, ASK, said(message), ASK)[0] == 200


def test_client_calls_next_to_an_open_server_call_are_answered_alone() -> None:
    both = reply(
        server_call("web_search", query="x"), ClientCall("look", {}, "toolu_1")
    )
    simulator, message = started(reply(server_result(URL), "So."), "no", first=both)
    result = {"type": "tool_result", "tool_use_id": "toolu_1"}
    more = {"type": "text", "text": "And?"}

    assert message["stop_reason"] == "tool_use"
    status, rest = send(
        simulator, ASK, said(message), {"role": "user", "content": [result]}
    )
    assert rest["content"][0]["tool_use_id"] == message["content"][0]["id"]
    talked = [{"role": "user", "content": [result, more]}]
    assert (status, send(simulator, ASK, said(message), *talked)[0]) == (200, 400)


def test_a_paused_turn_of_a_thread_goes_on_without_a_message() -> None:
    paused = server_call("web_search", query="x")
    simulator = Simulator(Scripted([paused, reply(server_result(URL), "So.")]))
    _, first = send(simulator, ASK, thread={"type": "create"})

    onward = {"type": "continue", "previous_message_id": first["id"]}
    status, rest = send(simulator, thread=onward, tools=None)

    assert (status, rest["stop_reason"]) == (200, "end_turn")
    assert rest["content"][0]["tool_use_id"] == first["content"][0]["id"]


def test_a_stream_of_server_tools_follows_the_grammar() -> None:
    whole = reply(
        think("hm"), server_call("web_search", query="x"), server_result(URL), "So."
    )
    plain, simulator = Simulator(Scripted([whole])), Simulator(Scripted([whole]))

    _, events = send(simulator, ASK, stream=True)
    _, message = send(plain, ASK)

    assert stream_problems(events) == ()
    blocks = [
        e.data["content_block"] for e in events if e.name == "content_block_start"
    ]
    assert [each["type"] for each in blocks] == [
        each["type"] for each in message["content"]
    ]
    # The call's input comes in fragments, the result is whole from the start.
    assert (blocks[1]["input"], len(blocks[2]["content"])) == ({}, 1)


def test_a_call_that_does_not_fit_is_left_out() -> None:
    long = reply("So.", server_call("web_search", query="x" * 9_000))
    simulator = Simulator(Scripted([long, reply(call("look"), server_result(URL))]))

    _, message = send(simulator, ASK)

    assert [block["type"] for block in message["content"]] == ["text"]
    assert message["stop_reason"] == "max_tokens"
