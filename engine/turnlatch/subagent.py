"""A tool that is a conversation of its own: what it comes to is durable before it is told.

The child has its own name and its own journal in its parent's store. The same call is
the same child, so one that was broken off goes on where it stopped, and what it did is
not done again.
"""

from typing import Any

import anyio

from turnlatch.call_context import RunningCall, running_call
from turnlatch.conversation import Conversation
from turnlatch.errors import CorrectableToolError
from turnlatch.journal.lock_waiting import patiently
from turnlatch.options import OPTIONS
from turnlatch.result import Turn
from turnlatch.tools import Reconciled, Tool, tool
from turnlatch_states.machine.turn import TurnState

_SECONDS_MAX = 86_400.0


class ChildError(CorrectableToolError):
    """A child stopped before it was done; its parent's model is told how far it got.

    Attributes:
        conversation: The child's name, under which its work is kept.
        turn: How far it got.
        why: What stopped it.
    """

    def __init__(self, conversation: str, turn: Turn, why: str) -> None:
        calls = ", ".join(
            f"{one.name}: {one.closing or one.state}" for one in turn.calls
        )
        said = " ".join(one.text for one in turn.replies if one.text)
        super().__init__(
            f"Stopped before it was done: {why}. Calls so far: {calls or 'none'}."
            f" Said so far: {said or 'nothing'}"
            f" (The work is kept in conversation {conversation!r}.)"
        )
        self.conversation = conversation
        self.turn = turn
        self.why = why


def child_tool(
    name: str,
    description: str,
    *,
    timeout: float = 600.0,
    **options: Any,
) -> Tool:
    """A tool whose calls each run a conversation of their own, and give its last word.

    The model gives it a task in words. The child is kept in its parent's store as
    "<name> <key>", with its own journal; it shares its parent's client, and nothing of
    its history. Its outcome is durable before the parent is told. A child that fails, is
    cut off, waits for a person or takes too long is an error result that says why and
    what it got done. After a crash `retry()` of the parent goes on with the same child.

    Args:
        name: The tool's name, 1 to 64 letters, digits, _ or -.
        description: What the child is for, as the parent's model reads it.
        timeout: Seconds a child may take; then it is stopped, and its work is kept.
        **options: Of `Conversation.open`, for the child: `system`, `tools`, `model`,
            `limits`, … Store, client, clock, ids and model are the parent's,
            if not given.

    Raises:
        ToolDefinitionError: The name or the description cannot be used.
        SettingsError: The timeout or an option is of the wrong type or out of bounds.
        TypeError: An option is none of `Conversation.open`.
    """
    OPTIONS["timeout"].demand("timeout", timeout)
    Conversation.open("checked", **options)  # what is wrong is said now

    async def run(task: str) -> str:
        call = running_call()
        async with _child(name, call, options) as child:
            with anyio.move_on_after(timeout) as scope:
                return _told(child, await child.send(task, key=call.key))
            assert scope.cancelled_caught
            raise ChildError(child.name, _stood(child), f"it took over {timeout:g} s")

    async def look(key: str) -> object:
        """What became of a child whose parent was broken off; nothing is done for it."""
        call = running_call()
        listed = await patiently(call.world["store"].conversations)
        names = {one.name for one in listed}
        if _named(name, key) not in names:
            return Reconciled.NOT_DONE
        async with _child(name, call, options) as child:
            if child.turn is None:
                return Reconciled.NOT_DONE
            return _told(child, child.turn)

    declare = tool(
        effect="safe",  # it may be called again: with the same key it goes on
        timeout=_SECONDS_MAX,
        reconcile=look,
        name=name,
        description=description,
    )
    return declare(run)


def _named(name: str, key: str) -> str:
    return f"{name} {key}"


def _child(name: str, call: RunningCall, options: dict[str, Any]) -> Conversation:
    return Conversation.open(_named(name, call.key), **{**call.world, **options})


def _stood(child: Conversation) -> Turn:
    turn = child.turn
    assert turn is not None, "something was said to it"
    return turn


def _told(child: Conversation, turn: Turn) -> str:
    """What a child came to.

    Raises:
        ChildError: It was stopped before it was done.
    """
    if turn.fault is not None:
        raise ChildError(child.name, turn, str(turn.fault))
    if turn.awaiting:
        waits = ", ".join(one.name for one in turn.awaiting)
        raise ChildError(child.name, turn, f"a person has to decide about {waits}")
    if turn.state is not TurnState.CONFIRMED or not turn.replies:
        raise ChildError(child.name, turn, "it was broken off")
    reason = turn.replies[-1].stop_reason
    if reason not in ("end_turn", "stop_sequence"):
        raise ChildError(child.name, turn, f"its last reply ended with {reason}")
    return turn.text
