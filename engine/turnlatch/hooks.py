"""The hooks around a compaction: what they are told, and what they may answer."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias, final

import attrs

from turnlatch_states.request.history import Method


@final
@attrs.frozen
class CompactionPlan:
    """A summary that is about to be asked for.

    Attributes:
        turn: The turn in which this happens.
        covers: How many exchanges it will stand for.
        of: How many exchanges there are.
        method: How it is made: by the server, or told.
        tokens: At most how many tokens the context holds now.
        asked: True if the caller asked for it.
    """

    turn: int
    covers: int
    of: int
    method: Method
    tokens: int
    asked: bool


@final
@attrs.frozen
class CompactionDone:
    """A summary that is in force.

    Attributes:
        plan: What was asked for.
        summary: What it says.
        bytes_before: What it stands for, in bytes of a request.
        bytes_after: What stands there now.
    """

    plan: CompactionPlan
    summary: str
    bytes_before: int
    bytes_after: int


Verdict: TypeAlias = bool | str | None
"""Of a hook before a compaction: False to have none, text for other instructions."""

BeforeCompaction: TypeAlias = Callable[[CompactionPlan], Verdict | Awaitable[Verdict]]
AfterCompaction: TypeAlias = Callable[[CompactionDone], Awaitable[None] | None]
