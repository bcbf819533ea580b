"""What the machine asks the world to do next, as frozen orders.

A command is returned, never run here. Whoever performs it reports back with an event,
so a command that was lost (a crash, a cancel) is simply asked for again.
"""

from typing import TypeAlias, final

import attrs

from turnlatch_states.api.faults import Fault
from turnlatch_states.request.profile import Purpose


@final
@attrs.frozen
class Prepare:
    """Build the next request and check it; report it sent, or the turn failed."""

    purpose: Purpose


@final
@attrs.frozen
class SendRequest:
    """Send the request of this attempt and report how it ended."""

    turn: int
    attempt: int
    purpose: Purpose


@final
@attrs.frozen
class RunCalls:
    """Run the calls that may run, each once, and close each with its one result.

    A call that needs a person's yes and has none is left as it is: the turn waits.
    """

    turn: int
    calls: tuple[str, ...]


@final
@attrs.frozen
class ContinueTurn:
    """Send the answers back to the model.

    Attributes:
        turn: The turn.
        results_only: What waits to be said is left for a later request.
    """

    turn: int
    results_only: bool = False


@final
@attrs.frozen
class ConsiderRetry:
    """Wait and try again if the policy allows it; else the turn rests in failed."""

    turn: int
    failures: int
    fault: Fault


@final
@attrs.frozen
class Rest:
    """Nothing more to do: the turn is over, or it waits for the caller."""


Command: TypeAlias = (
    Prepare | SendRequest | RunCalls | ContinueTurn | ConsiderRetry | Rest
)
