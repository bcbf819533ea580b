"""What to do next about a turn that failed: one pure decision.

`decide` walks the ladder of the fault's kind from the top and takes the first rung that
applies. It reads the snapshot, the policies and a random draw, and nothing else.
"""

from turnlatch_states.api.proxy_errors import unwrapped
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.recovery.decisions import Decision, Stop
from turnlatch_states.recovery.ladder import LADDERS, raised
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.recovery.rung import Failure, Rung, first_decision


def decide(snapshot: Snapshot, policies: Policies, draw: float) -> Decision:
    """The decision about the current turn of a conversation.

    Args:
        snapshot: A conversation whose turn has failed.
        policies: The caller's policies for faults.
        draw: A random number in [0, 1).
    """
    taken = next_rung(snapshot, policies, draw)
    return Stop() if taken is None else taken[1]


def next_rung(
    snapshot: Snapshot, policies: Policies, draw: float
) -> tuple[Rung, Decision] | None:
    """The rung that `decide` takes, with its decision; None if no rung applies."""
    turn = snapshot.turn
    if turn is None or turn.fault is None or turn.abandoned:
        return None
    failure = Failure(snapshot, turn, unwrapped(turn.fault), policies, draw)
    ladder = LADDERS[failure.fault.kind]
    rungs = ladder.rungs if turn.compacting is None else ladder.summary
    return first_decision(rungs, failure)


def cut_off(snapshot: Snapshot, found: Outcome, calls: bool) -> bool:
    """True if a reply was cut off inside a call and a higher limit is left to try."""
    turn = snapshot.turn
    if turn is None or found is not Outcome.TRUNCATED or not calls:
        return False
    return raised(snapshot, turn) is not None
