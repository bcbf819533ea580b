"""The next need of a conversation, by kind.

A command is a function of the snapshot alone, so a lost one (a crash, a cancelled task) is
found again from the snapshot. `turnlatch_states.effects` makes the exact request, wait or
call from it.
"""

from enum import StrEnum
from typing import assert_never

from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.snapshot import Snapshot, Turn, owes, unheard
from turnlatch_states.machine.turn import TurnState


class Command(StrEnum):
    """The next need of a conversation."""

    PREPARE = "prepare"
    """Build and check the next request, and announce it."""
    SEND = "send"
    """Send the request that was announced, for a reply or for a summary."""
    RUN_CALLS = "run calls"
    """Run the calls that may run, or close them unrun."""
    CONTINUE = "continue"
    """Go back to the model, with the results or with steered messages."""
    RECOVER = "recover"
    """Decide what follows a failure."""
    AWAIT = "await"
    """Nothing now: calls run, or a person is asked about them."""
    REST = "rest"
    """Nothing: the turn is over, or none has begun."""


_TO_RUN = frozenset(
    {CallState.PROPOSED, CallState.APPROVED, CallState.DENIED, CallState.UNKNOWN}
)
"""Where a call stands that needs something done about it."""


def next_command(snapshot: Snapshot) -> Command:
    """The next command for a snapshot."""
    turn = snapshot.turn
    if turn is None:
        return Command.REST
    state = TurnState(turn.state)
    match state:
        case TurnState.PENDING:
            return Command.PREPARE
        case TurnState.SENT | TurnState.COMPACTING:
            return Command.SEND
        case TurnState.CONFIRMED:
            return _after_a_reply(snapshot, turn)
        case TurnState.FAILED:
            rests = turn.abandoned or turn.fault is None
            return Command.REST if rests else Command.RECOVER
        case _:
            assert_never(state)


def _after_a_reply(snapshot: Snapshot, turn: Turn) -> Command:
    if not owes(turn):
        return Command.CONTINUE if unheard(snapshot) else Command.REST
    states = {call.state for call in turn.calls}
    if states & _TO_RUN:
        return Command.RUN_CALLS
    return Command.AWAIT if turn.open_calls else Command.CONTINUE
