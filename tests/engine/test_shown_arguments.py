"""What a person or a rule decides about is what runs, and nothing wrong is put to them."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr
from tests.harness.world import World, strings

from turnlatch import (
    ApprovalError,
    CallState,
    Closing,
    Conversation,
    Tool,
    ToolCall,
    TurnState,
    tool,
)
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

GUARD_SECONDS = 60
"""Far longer than anything here takes: a hang fails instead of hanging."""


class Target(BaseModel):
    name: str
    force: bool = False


def asking(
    world: World, asked: list[ToolCall] | None = None, says: bool | None = None
) -> Tool:
    """A tool that is asked about; with a list, a rule is, and what it saw is kept."""

    def rule(seen: ToolCall) -> bool | None:
        assert asked is not None
        asked.append(seen)
        return says

    @tool(effect="ask", approve=None if asked is None else rule)
    async def remove(path: Path, times: int = 1, target: Target | None = None) -> str:
        """Remove something."""
        world.ran.append(f"remove {path} {times} {target}")
        return "removed"

    return remove


def result(chat: Conversation) -> str:
    assert chat.turn is not None
    block = json.loads(chat.turn.calls[0].result)
    assert block["is_error"] is True
    said: str = block["content"]
    return said


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "text for a number": ({"path": "a", "times": "1_000"}, "times: Input should be"),
    "a float": ({"path": "a", "times": 1.0}, "times: Input should be a valid integer"),
    "an unknown key": ({"path": "a", "all": True}, "all: Extra inputs"),
    "one inside": (
        {"path": "a", "target": {"name": "b", "recursive": True}},
        "target.recursive: Extra inputs",
    ),
    "a missing one": ({"times": 1}, "path: Field required"),
}


@pytest.mark.parametrize("rule", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
async def test_wrong_arguments_are_refused_without_a_question(
    world: World, wrong: str, rule: bool
) -> None:
    arguments, says = WRONG[wrong]
    asked: list[ToolCall] = []
    world.script(call("remove", **arguments), "I see.")
    async with world.open(tools=[asking(world, asked if rule else None, True)]) as chat:
        turn = await chat.send("Go")

        assert turn.text == "I see.", "the model is told, and goes on"
        assert turn.calls[0].closing is Closing.ERROR
        assert says in result(chat)
    assert world.ran == []
    assert asked == []


async def test_right_call_next_to_a_wrong_one_is_asked_about(world: World) -> None:
    both = reply(call("remove", path="a", times="2"), call("remove", path="b"))
    world.script(both, "Done.")
    async with world.open(tools=[asking(world)]) as chat:
        turn = await chat.send("Go")

        assert [dict(c.input or {}) for c in turn.awaiting] == [{"path": "b"}]
        assert turn.calls[0].closing is Closing.ERROR
        turn = await chat.approve(turn.awaiting[0].id)
        assert turn.text == "Done."
    assert world.ran == ["remove b 1 None"]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_question_shows_what_the_types_make_of_it(
    world: World, restart: bool
) -> None:
    world.script(call("remove", path="./a//b", target={"name": "x"}), "Done.")
    shown = {"path": "a/b", "target": {"name": "x"}}
    async with world.open(tools=[asking(world)]) as chat:
        turn = await chat.send("Go")
        assert turn.awaiting[0].input == shown
        if not restart:
            await chat.approve(turn.awaiting[0].id, digest=turn.awaiting[0].digest)
    async with world.open(tools=[asking(world)]) as chat:
        assert chat.turn is not None
        if restart:
            (waiting,) = chat.turn.awaiting
            assert waiting == turn.awaiting[0]
            await chat.approve(waiting.id, digest=waiting.digest)
        assert chat.turn.calls[0].input == shown, "also when it is over"
    assert world.ran == ["remove a/b 1 name='x' force=False"]
    assert "./a//b" in set(strings(world.bodies[-1])), "the record stays as it came"


@pytest.mark.parametrize("says", [True, None])
async def test_a_rule_sees_what_the_types_make_of_it(
    world: World, says: bool | None
) -> None:
    asked: list[ToolCall] = []
    world.script(call("remove", path="a/./b"), "Done.")
    async with world.open(tools=[asking(world, asked, says)]) as chat:
        turn = await chat.send("Go")
        if says is None:
            turn = await chat.approve(turn.awaiting[0].id)

        assert turn.text == "Done."
    assert [dict(one.input) for one in asked] == [{"path": "a/b"}]
    assert world.ran == ["remove a/b 1 None"]


def paying(world: World, amount: Any) -> Tool:
    """A tool whose schema is the same whatever the validators of its type do."""

    async def pay(amount: int) -> str:
        """Pay."""
        world.ran.append(f"pay {amount!r}")
        return "paid"

    pay.__annotations__["amount"] = amount
    return tool(effect="ask")(pay)


async def test_approved_call_runs_after_its_type_stopped_converting(
    world: World,
) -> None:
    world.script(call("pay", amount="1_000"), "Done.")
    lenient = paying(world, Annotated[int, BeforeValidator(int)])
    async with world.open(tools=[lenient]) as chat:
        turn = await chat.send("Go")
        assert turn.awaiting[0].input == {"amount": 1000}
    async with world.open(tools=[paying(world, int)]) as chat:
        turn = await chat.approve(turn.awaiting[0].id)

        assert turn.text == "Done."
    assert world.ran == ["pay 1000"]


def at_most_ten(amount: int) -> int:
    return min(amount, 10)


@pytest.mark.parametrize("moment", ["before the answer", "before it started"])
async def test_call_that_would_run_differently_now_is_asked_about_again(
    world: World, moment: str
) -> None:
    world.script(reply(call("pay", amount=50), call("pay", amount=1)), "Done.")
    tools = [paying(world, Annotated[int, AfterValidator(at_most_ten)])]
    async with world.open(tools=[paying(world, int)]) as chat:
        turn = await chat.send("Go")
        first, second = turn.awaiting
        if moment == "before it started":  # it waits for the other
            await chat.approve(first.id)
    async with world.open(tools=tools) as chat:
        if moment == "before it started":
            turn = await chat.approve(second.id)
            assert world.ran == ["pay 1"]
        else:
            with pytest.raises(ApprovalError, match="has changed since it was shown"):
                await chat.approve(first.id)
            await chat.approve(second.id)
            assert world.ran == []
        assert chat.turn is not None
        (waiting,) = [one for one in chat.turn.awaiting if one.id == first.id]
        assert waiting.input == {"amount": 10}
        turn = await chat.approve(waiting.id, digest=waiting.digest)

        assert turn.text == "Done."
    assert sorted(world.ran) == ["pay 1", "pay 10"]


async def test_call_that_no_longer_fits_is_closed_without_another_question(
    world: World,
) -> None:
    def small(amount: int) -> int:
        if amount > 10:
            raise ValueError("too much")
        return amount

    world.script(call("pay", amount=50), "I see.")
    async with world.open(tools=[paying(world, int)]) as chat:
        turn = await chat.send("Go")
    tools = [paying(world, Annotated[int, AfterValidator(small)])]
    async with world.open(tools=tools) as chat:
        with pytest.raises(ApprovalError):
            await chat.approve(turn.awaiting[0].id)
        turn = await chat.retry()

        assert turn.text == "I see."
        assert "too much" in result(chat)
    assert world.ran == []


async def test_call_that_cannot_be_shown_does_not_run(world: World) -> None:
    @tool(effect="ask")
    async def enter(word: SecretStr) -> str:
        """Enter."""
        world.ran.append("enter")
        return ""

    world.script(call("enter", word="marker"), "I see.")
    async with world.open(tools=[enter]) as chat:
        turn = await chat.send("Go")

        assert turn.text == "I see."
        assert "the arguments of enter cannot be shown" in result(chat)
    assert world.ran == []


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    """Lets go of every thread that hangs, once the test is over."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_validator_that_hangs_holds_nothing_up(
    world: World, let_go: threading.Event
) -> None:
    def hang(amount: int) -> int:
        let_go.wait(GUARD_SECONDS)
        return amount

    @tool(effect="ask", timeout=0.02, grace=0.01)
    async def pay(amount: Annotated[int, AfterValidator(hang)]) -> str:
        """Pay."""
        world.ran.append("pay")
        return ""

    world.script(call("pay", amount=1), "I see.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[pay]) as chat:
            turn = await chat.send("Go")

            assert turn.text == "I see."
            assert "no answer within 0.02 s" in result(chat)
    assert world.ran == []


async def test_a_turn_is_stopped_while_arguments_are_read(
    world: World, let_go: threading.Event
) -> None:
    begun = threading.Event()

    def hang(amount: int) -> int:
        begun.set()
        let_go.wait(GUARD_SECONDS)
        return amount

    @tool(effect="ask", timeout=600)
    async def pay(amount: Annotated[int, AfterValidator(hang)]) -> str:
        """Pay."""
        world.ran.append("pay")
        return ""

    world.script(call("pay", amount=1), "I see.")
    with anyio.fail_after(GUARD_SECONDS):
        async with world.open(tools=[pay]) as chat:
            async with anyio.create_task_group() as group:
                group.start_soon(chat.send, "Go")
                while not begun.is_set():
                    await anyio.lowlevel.checkpoint()
                await chat.interrupt()
            assert chat.turn is not None
            assert chat.turn.state is TurnState.FAILED
            assert chat.turn.calls[0].state is CallState.CLOSED
            assert chat.turn.calls[0].closing is Closing.NOT_EXECUTED
    assert world.ran == []


async def test_call_without_a_question_is_read_as_strictly(
    world: World,
) -> None:
    world.script(call("look", path=5), call("look", path="a"), "Done.")
    async with world.open() as chat:
        turn = await chat.send("Go")

        assert turn.text == "Done."
        assert "path: Input should be a valid string" in result(chat)
    assert world.ran == ["look a"]
