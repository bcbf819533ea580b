"""Context of the caller's code: the tool call it runs for, and the turn it runs inside."""

import contextlib
from collections.abc import Generator, Mapping
from contextvars import ContextVar
from typing import Any, final

import attrs

from turnlatch.errors import NoRunningCallError


@final
@attrs.frozen
class RunningCall:
    """The call that a tool runs for.

    Attributes:
        conversation: The name of the conversation.
        turn: The number of the turn.
        call: The `tool_use` id; see `CallReport.id`.
        key: The call's idempotency key: the same at every attempt, and unique.
        world: Options of `Conversation.open` (store, client, clock, ids, model) for a
            conversation that the tool opens inside this one.
    """

    conversation: str
    turn: int
    call: str
    key: str
    world: Mapping[str, Any] = attrs.field(eq=False, repr=False)


RUNNING: ContextVar[RunningCall] = ContextVar("turnlatch_running_call")


def running_call() -> RunningCall:
    """The tool call that the calling code runs for, also in a tool's thread.

    Raises:
        NoRunningCallError: The calling code does not run for a tool call.
    """
    found = RUNNING.get(None)
    if found is None:
        raise NoRunningCallError
    return found


@final
@attrs.define(eq=False)
class _Work:
    """A method of a conversation, from taking the lock to its end.

    Code that the method calls, and every task and thread that inherits its context, can
    tell that it runs inside.
    """

    conversation: object
    over: bool = False


_INSIDE: ContextVar[tuple[_Work, ...]] = ContextVar("turnlatch_inside", default=())


@contextlib.contextmanager
def working(conversation: object) -> Generator[None]:
    """Mark code that runs in this block, and code that it starts, as inside."""
    mine = _Work(conversation)
    around = tuple(one for one in _INSIDE.get() if not one.over)
    token = _INSIDE.set((*around, mine))
    try:
        yield
    finally:
        # A task that outlives the block keeps the context, but is now outside.
        mine.over = True
        _INSIDE.reset(token)


def is_inside(conversation: object) -> bool:
    """True in code that runs inside an unfinished method of this conversation.

    Such code must not wait for that method: it would wait for itself.
    """
    return any(
        one.conversation is conversation and not one.over for one in _INSIDE.get()
    )
