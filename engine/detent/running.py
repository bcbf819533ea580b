"""What a tool can know of the call that it runs for."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, final

import attrs

from detent.errors import NoRunningCallError


@final
@attrs.frozen
class RunningCall:
    """The call that a tool runs for.

    Attributes:
        conversation: The name of the conversation.
        turn: The turn.
        call: The `tool_use` id.
        key: The call's idempotency key: the same at every attempt, nowhere else.
        world: What a conversation within this one shares with it: the options of
            `Conversation.open` for its store, client, clock, ids and model.
    """

    conversation: str
    turn: int
    call: str
    key: str
    world: Mapping[str, Any] = attrs.field(eq=False, repr=False)


RUNNING: ContextVar[RunningCall] = ContextVar("detent_running_call")


def running_call() -> RunningCall:
    """The call that the code which asks runs for; in a thread of a tool's, too.

    Raises:
        NoRunningCallError: None.
    """
    found = RUNNING.get(None)
    if found is None:
        raise NoRunningCallError
    return found
