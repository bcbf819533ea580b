"""Server threads: kept, continued once, lost; and the five codes that say so."""

import json
from typing import Any

import attrs
import pytest

from turnlatch.simulator import ApiRequest, ApiResponse, Scripted, Simulator, call

BETAS = "message-threads-2026-08-12,context-management-2025-06-27"
HEADERS = (
    ("authorization", "Bearer k"),
    ("anthropic-version", "2026-10-21"),
    ("anthropic-beta", BETAS),
)
TOOLS = [{"name": "look", "input_schema": {"type": "object"}}]


@attrs.define
class World:
    """A simulator on a clock that is set by hand."""

    now: float = 0.0
    faults: str = ""
    simulator: Simulator = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        answers = ["a"] * 30
        self.simulator = Simulator(
            Scripted(answers), faults=self.faults, clock=lambda: self.now
        )

    def begin(self, **fields: Any) -> ApiResponse:
        """Send a request whose response is still leaving."""
        body = {"model": "claude-opus-5", "max_tokens": 99, **fields}
        data = json.dumps(body).encode()
        return self.simulator.handle(ApiRequest("POST", "/v1/messages", HEADERS, data))

    def send(self, **fields: Any) -> ApiResponse:
        """Send a request and see its response leave."""
        response = self.begin(**fields)
        self.simulator.finish(response)
        return response

    def create(self, **fields: Any) -> str:
        """Create a thread; its first reply's id."""
        response = self.send(messages=[said("1")], thread={"type": "create"}, **fields)
        return str(json.loads(response.body)["id"])


def said(words: str) -> dict[str, str]:
    return {"role": "user", "content": words}


def onward(previous: str) -> dict[str, str]:
    return {"type": "continue", "previous_message_id": previous}


def refusal(response: ApiResponse) -> tuple[int, str]:
    error = json.loads(response.body)["error"]
    return response.status, error["details"]["error_code"]


def test_a_thread_goes_on_from_its_newest_reply() -> None:
    world = World()
    first = world.create(system="s" * 400, tools=TOOLS)

    response = world.send(messages=[said("2")], thread=onward(first))

    reply = json.loads(response.body)
    assert response.status == 200
    assert reply["id"] != first
    # The system prompt and what was said before count, though they were not sent.
    assert reply["usage"]["input_tokens"] > 100
    again = world.send(messages=[said("3")], thread=onward(reply["id"]))
    assert again.status == 200


def test_unknown_id_is_not_found() -> None:
    world = World()

    response = world.send(messages=[said("2")], thread=onward("msg_01nobody"))

    assert refusal(response) == (404, "thread_not_found")
    assert json.loads(response.body)["error"]["type"] == "not_found_error"
    assert len(world.simulator.unscripted_rejections()) == 1


def test_a_thread_expires_five_minutes_after_its_last_use() -> None:
    world = World()
    first = world.create()
    world.now = 299.0
    second = json.loads(world.send(messages=[said("2")], thread=onward(first)).body)
    world.now = 598.0
    third = json.loads(
        world.send(messages=[said("3")], thread=onward(second["id"])).body
    )
    world.now = 898.0

    late = world.send(messages=[said("4")], thread=onward(third["id"]))

    assert refusal(late) == (404, "thread_not_found")


def test_a_script_may_expire_threads_and_is_to_blame_then() -> None:
    world = World(faults="expire threads @2")
    first = world.create()

    response = world.send(messages=[said("2")], thread=onward(first))

    assert refusal(response) == (404, "thread_not_found")
    assert world.simulator.log[-1].scripted
    assert world.simulator.unscripted_rejections() == ()


def test_a_reply_is_continued_once() -> None:
    world = World()
    first = world.create()
    world.send(messages=[said("2")], thread=onward(first))

    response = world.send(messages=[said("2")], thread=onward(first))

    assert refusal(response) == (400, "thread_already_continued")
    assert b"already been continued" in response.body


def test_a_second_continue_finds_the_first_in_flight() -> None:
    world = World()
    first = world.create()
    leaving = world.begin(messages=[said("2")], thread=onward(first))
    unfinished = json.loads(leaving.body)["id"]

    assert refusal(world.send(messages=[said("2")], thread=onward(first))) == (
        400,
        "thread_continue_in_flight",
    )
    # A reply that has not left whole cannot be continued either.
    assert refusal(world.send(messages=[said("3")], thread=onward(unfinished))) == (
        404,
        "thread_not_found",
    )
    world.simulator.finish(leaving)
    assert refusal(world.send(messages=[said("2")], thread=onward(first))) == (
        400,
        "thread_already_continued",
    )
    assert world.send(messages=[said("3")], thread=onward(unfinished)).status == 200


def test_a_fixed_field_that_differs_is_named() -> None:
    world = World()
    first = world.create(output_config={"effort": "low"})

    response = world.send(
        messages=[said("2")], thread=onward(first), output_config={"effort": "high"}
    )

    assert refusal(response) == (400, "thread_fingerprint_mismatch")
    assert b"differing field(s): output_config" in response.body
    same = world.send(
        messages=[said("2")], thread=onward(first), output_config={"effort": "low"}
    )
    assert same.status == 200


def test_field_that_threads_do_not_support_is_named() -> None:
    world = World()
    edits = [{"type": "clear_tool_uses_20250919"}]

    response = world.send(
        messages=[said("1")],
        thread={"type": "create"},
        context_management={"edits": edits},
    )

    assert refusal(response) == (400, "thread_unsupported_request")
    details = json.loads(response.body)["error"]["details"]
    assert details["unsupported"] == ["context_management"]


@pytest.mark.parametrize("field", ["system", "tools"])
def test_request_does_not_repeat_messages_of_the_thread(field: str) -> None:
    world = World()
    first = world.create(system="s", tools=TOOLS)
    value = {"system": "s", "tools": TOOLS}[field]

    response = world.send(messages=[said("2")], thread=onward(first), **{field: value})

    assert response.status == 400
    assert field.encode() in response.body


def test_results_are_matched_with_the_calls_the_thread_holds() -> None:
    world = World()
    world.simulator = Simulator(Scripted([call("look"), "done", "done"]))
    response = world.send(messages=[said("1")], thread={"type": "create"}, tools=TOOLS)
    message = json.loads(response.body)
    called = message["content"][0]["id"]
    result = {"type": "tool_result", "tool_use_id": called, "content": "x"}

    bare = world.send(messages=[said("never mind")], thread=onward(message["id"]))
    answered = world.send(
        messages=[{"role": "user", "content": [result]}], thread=onward(message["id"])
    )

    assert bare.status == 400
    assert called.encode() in bare.body
    assert answered.status == 200


def test_a_fault_before_the_api_leaves_the_thread_as_it_was() -> None:
    world = World(faults="529 @2, cut 10% reset @3")
    first = world.create()

    assert world.send(messages=[said("2")], thread=onward(first)).status == 529
    # Cut after it was processed: the reply is lost, and the id is used up.
    assert world.send(messages=[said("2")], thread=onward(first)).ending == "reset"
    lost = world.send(messages=[said("2")], thread=onward(first))
    assert refusal(lost) == (400, "thread_already_continued")
