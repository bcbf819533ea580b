"""A tool whose calls run child conversations; the child's outcome is durable first.

The child has a separate name and journal in its parent's store. The same call always opens
the same child, so an interrupted child continues and repeats nothing.
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
    """A child conversation stopped early; the parent's model gets its progress.

    Attributes:
        conversation: The child's name, under which its work is kept.
        turn: The child's turn.
        why: The reason it stopped.
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
    """A tool whose calls each run a child conversation and return its last reply's text.

    The model gives the child a task as text. The child is kept in its parent's store as
    "<name> <key>", with a separate journal; it shares its parent's client, but not its
    history. Its outcome is durable before the parent gets it. If a child fails, is
    cut off, waits for a person or takes too long, the result is an error with the cause
    and the work done. After a crash `retry()` of the parent continues the same child.

    Args:
        name: The tool's name, 1 to 64 letters, digits, _ or -.
        description: The child's purpose, for the parent's model.
        timeout: Seconds a child may take; then it is stopped, and its work is kept.
        **options: Options of `Conversation.open` for the child: `system`, `tools`,
            `model`, `limits`, … Store, client, clock, ids and model default to the
            parent's.

    Raises:
        ToolDefinitionError: The name or the description cannot be used.
        SettingsError: The timeout or an option is of the wrong type or out of bounds.
        TypeError: `Conversation.open` has no such option.
    """
    OPTIONS["timeout"].demand("timeout", timeout)
    Conversation.open("checked", **options)  # raises for a wrong option now

    async def run(task: str) -> str:
        call = running_call()
        async with _child(name, call, options) as child:
            with anyio.move_on_after(timeout) as scope:
                return _told(child, await child.send(task, key=call.key))
            assert scope.cancelled_caught
            raise ChildError(child.name, _stood(child), f"it took over {timeout:g} s")

    async def look(key: str) -> object:
        """The outcome of a child whose parent was interrupted; does not run the child."""
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
        effect="safe",  # repeatable: with the same key the child continues
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
    """The text of a finished child.

    Raises:
        ChildError: The child stopped before it was done.
    """
    if turn.fault is not None:
        raise ChildError(child.name, turn, str(turn.fault))
    if turn.awaiting:
        waits = ", ".join(one.name for one in turn.awaiting)
        raise ChildError(child.name, turn, f"a person has to decide about {waits}")
    if turn.state is not TurnState.CONFIRMED or not turn.replies:
        raise ChildError(child.name, turn, "it was interrupted")
    reason = turn.replies[-1].stop_reason
    if reason not in ("end_turn", "stop_sequence"):
        raise ChildError(child.name, turn, f"its last reply ended with {reason}")
    return turn.text
