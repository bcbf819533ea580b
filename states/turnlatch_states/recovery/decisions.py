"""The decisions about a turn that failed, as values.

`decide` returns one of them; the engine performs it.
"""

from typing import TypeAlias, final

import attrs

from turnlatch_states.api.faults import Fault
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.request.history import Method
from turnlatch_states.request.view import View


@final
@attrs.frozen
class WaitThenRetry:
    """Wait, then send the same request again.

    Attributes:
        seconds: The wait before it.
    """

    seconds: float


@final
@attrs.frozen
class PingServer:
    """Wait, then send a short request with the same settings, to see if it is answered.

    Attributes:
        seconds: The wait before it.
    """

    seconds: float


@final
@attrs.frozen
class BisectHistory:
    """Find the part of the history that is refused, by trials that change nothing."""


@final
@attrs.frozen
class Suspend:
    """Let the turn rest until something outside the conversation changes.

    Attributes:
        why: The condition that the turn waits for, in words.
        seconds: The wait that the server asked for; None if it named none.
        fault: The fault to record instead, if the first one was misread; None to keep it.
    """

    why: str
    seconds: float | None = None
    fault: Fault | None = None


@final
@attrs.frozen
class Stop:
    """Let the turn rest in `failed`: no rung of the ladder is left."""


@final
@attrs.frozen
class ChangeRequest:
    """Change how the next request is built, then send it.

    Attributes:
        remedy: The remedy that this is, as the journal records it.
        why: The failure that it answers, in words.
        view: The view of the history from now on; None to keep the current one.
        max_tokens: The limit of the reply; None to keep the current one.
        seconds: The wait before it.
        passing: The view is dropped again once the server accepts the full history.
    """

    remedy: Remedy
    why: str
    view: View | None = None
    max_tokens: int | None = None
    seconds: float = 0.0
    passing: bool = False


@final
@attrs.frozen
class Compact:
    """Request a summary that replaces the first exchanges in later requests.

    Attributes:
        covers: How many exchanges it replaces, counted from the oldest.
        method: Whether the server makes it by itself or is prompted for it.
    """

    covers: int
    method: Method


Decision: TypeAlias = (
    WaitThenRetry
    | ChangeRequest
    | Compact
    | PingServer
    | BisectHistory
    | Suspend
    | Stop
)
"""One decision about a turn that failed."""
