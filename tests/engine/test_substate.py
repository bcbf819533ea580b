"""Where exactly a turn stands is said at every moment, also while the server is asked."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.harness.world import World

from turnlatch import Conversation, Substate, TurnState
from turnlatch.ports import Delta, RequestFailedError
from turnlatch.simulator import call
from turnlatch.testing import VirtualClock
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

POISON = b"POISON"


def refusal() -> RequestFailedError:
    said = "something is wrong"
    fault = Fault(FaultKind.INVALID, said, status=400, type="invalid_request_error")
    return RequestFailedError(fault)


class Filter:
    """A model that refuses whatever holds one word, and notes where the turn stands."""

    def __init__(self) -> None:
        self.chat: Conversation | None = None
        self.filtering = False
        self.seen: list[tuple[str, str]] = []
        self.hang_at = 0

    async def _note(self) -> None:
        assert self.chat is not None
        turn = self.chat.turn
        assert turn is not None
        assert turn.substate is self.chat.substate
        assert turn.state is self.chat.state
        self.seen.append((turn.state.value, turn.substate.value))
        if self.hang_at and len(self.seen) == self.hang_at:
            await anyio.sleep_forever()

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        await self._note()
        if self.filtering and POISON in request.body:
            raise refusal()
        facts = {
            "id": f"msg_{len(self.seen)}",
            "model": "m",
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1},
            "end": "stop",
        }
        return Reply(b'{"type":"text","text":"Hi"}', json.dumps(facts).encode())

    async def count(self, request: Request) -> int:
        await self._note()
        return 1

    async def aclose(self) -> None:
        pass


def opened(model: Filter) -> Conversation:
    model.chat = Conversation.open("a", client=model, clock=VirtualClock())
    return model.chat


async def filtered(model: Filter, chat: Conversation) -> None:
    """A conversation whose second message is refused from now on, and a first refusal."""
    for words in ("One", POISON.decode(), "Three", "Four"):
        await chat.send(words)
    model.filtering = True
    await chat.send("Five")
    model.seen.clear()


@pytest.mark.anyio
async def test_from_the_first_question_on_it_says_that_the_server_is_probed() -> None:
    model = Filter()
    async with opened(model) as chat:
        await filtered(model, chat)
        turn = await chat.send("Six")

        assert turn.trials > 2
        assert set(model.seen) == {("sent", "sent"), ("failed", "probing")}
        assert model.seen[1] == ("failed", "probing")
        assert (turn.state, turn.substate) == (TurnState.CONFIRMED, Substate.DONE)
        assert chat.substate is Substate.DONE


@pytest.mark.anyio
@pytest.mark.parametrize("question", [2, 4], ids=["first", "later"])
async def test_an_interrupt_between_questions_leaves_the_turn_at_rest(
    question: int,
) -> None:
    model = Filter()
    async with opened(model) as chat:
        await filtered(model, chat)
        model.hang_at = question
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, "Six")
            while len(model.seen) < question:
                await anyio.lowlevel.checkpoint()
            assert chat.substate is Substate.PROBING
            await chat.interrupt()
        assert chat.state is TurnState.FAILED
        assert chat.substate is Substate.RESTING
        model.hang_at = 0
        turn = await chat.retry()

        assert turn.substate is Substate.DONE


@pytest.mark.anyio
async def test_substates_are_shown_and_the_five_states_stay(world: World) -> None:
    world.script(call("ask", what="pay"), "Done.", faults="402 @2")
    async with world.open() as chat:
        seen: list[Any] = [(chat.state, chat.substate)]
        turn = await chat.send("Pay")
        seen.append((chat.state, chat.substate))
        turn = await chat.approve(turn.awaiting[0].id)
        seen.append((turn.state, turn.substate))
        await chat.abandon()
        seen.append((chat.state, chat.substate))
        turn = await chat.send("Again")
        seen.append((turn.state, turn.substate))

    assert seen == [
        (None, "new"),
        ("confirmed", "asking"),
        ("failed", "suspended"),
        ("failed", "abandoned"),
        ("confirmed", "done"),
    ]
