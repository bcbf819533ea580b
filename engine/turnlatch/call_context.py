"""What code that a conversation calls can know: its call, and what it runs inside of."""

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
        turn: The turn.
        call: The `tool_use` id; see `CallReport.id`.
        key: The call's idempotency key: the same at every attempt, nowhere else.
        world: What a conversation within this one shares with it: the options of
            `Conversation.open` for its store, client, clock, ids and model.
    """

    conversation: str
    turn: int
    call: str
    key: str
    world: Mapping[str, Any] = attrs.field(eq=False, repr=False)


RUNNING: ContextVar[RunningCall] = ContextVar("turnlatch_running_call")


def running_call() -> RunningCall:
    """The call that the code which asks runs for; in a thread of a tool's, too.

    Raises:
        NoRunningCallError: None.
    """
    found = RUNNING.get(None)
    if found is None:
        raise NoRunningCallError
    return found


@final
@attrs.define(eq=False)
class _Work:
    """One piece of work of a conversation, from when it took the lock until it is over.

    Whatever the work calls, and every task and thread that inherits the context of it,
    can tell that it is inside.
    """

    conversation: object
    over: bool = False


_INSIDE: ContextVar[tuple[_Work, ...]] = ContextVar("turnlatch_inside", default=())


@contextlib.contextmanager
def working(conversation: object) -> Generator[None]:
    """Have what runs in this block, and what it starts, know that it is inside."""
    mine = _Work(conversation)
    around = tuple(one for one in _INSIDE.get() if not one.over)
    token = _INSIDE.set((*around, mine))
    try:
        yield
    finally:
        # A task that outlives the block keeps the context, and is outside from now on.
        mine.over = True
        _INSIDE.reset(token)


def is_inside(conversation: object) -> bool:
    """True in code that runs for work of this conversation that is not over yet.

    To wait for that work there would be to wait for oneself.
    """
    return any(
        one.conversation is conversation and not one.over for one in _INSIDE.get()
    )
