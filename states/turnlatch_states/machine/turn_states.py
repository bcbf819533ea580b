"""The names of the states of a turn: five that users see first, and their parts."""

from enum import StrEnum
from typing import Final


class TurnState(StrEnum):
    """Where a turn stands."""

    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    COMPACTING = "compacting"


class Substate(StrEnum):
    """Where a turn stands, exactly: the states that the machine can stand in.

    `NEW` is a conversation before its first turn. `PENDING`, `SENT` and `COMPACTING`
    are the states of that name; the others are parts of `confirmed` and `failed`.
    """

    NEW = "new"
    PENDING = "pending"
    SENT = "sent"
    CALLING = "calling"
    ASKING = "asking"
    ANSWERED = "answered"
    DONE = "done"
    RESTING = "resting"
    WAITING = "waiting"
    PROBING = "probing"
    SUSPENDED = "suspended"
    ABANDONED = "abandoned"
    COMPACTING = "compacting"


STATES: Final[dict[str, str]] = {
    Substate.PENDING: TurnState.PENDING.value,
    Substate.SENT: TurnState.SENT.value,
    Substate.CALLING: TurnState.CONFIRMED.value,
    Substate.ASKING: TurnState.CONFIRMED.value,
    Substate.ANSWERED: TurnState.CONFIRMED.value,
    Substate.DONE: TurnState.CONFIRMED.value,
    Substate.RESTING: TurnState.FAILED.value,
    Substate.WAITING: TurnState.FAILED.value,
    Substate.PROBING: TurnState.FAILED.value,
    Substate.SUSPENDED: TurnState.FAILED.value,
    Substate.ABANDONED: TurnState.FAILED.value,
    Substate.COMPACTING: TurnState.COMPACTING.value,
}
"""The name of the state, of the five, that each substate is a part of."""

OWING: Final = ("calling", "asking", "answered")
"""A turn that stands here must go back to the model."""

OPENABLE: Final = ("new", "done", "resting", "probing", "suspended", "abandoned")
"""Here the next turn may be opened: the sources of the table's rows for `open`."""
