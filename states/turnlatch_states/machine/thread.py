"""The server-thread machine: what the server may still hold of a conversation.

A server thread is a hint that saves bytes (Anthropic docs: build-with-claude/
message-threads). It is never the truth: whatever happens to it, the conversation is
rebuilt from its own journal. Only a confirmed reply moves it to `continuing`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias, final

import attrs

from turnlatch_states.fsm.table import Role, State, Table, Transition
from turnlatch_states.request.build import Copy

Fire: TypeAlias = Callable[[Table, str, str, object, object], Transition]
"""How a row is executed: by the compiled machine, or looked up."""


class ThreadState(StrEnum):
    """The state of the server's copy for the next request."""

    OFF = "off"
    NEW = "new"
    CONTINUING = "continuing"
    LOST = "lost"


_OFF, _NEW, _ON, _LOST = (state.value for state in ThreadState)

THREAD = Table(
    name="thread",
    promise="losing the server's copy never loses the conversation",
    states=(
        State(_OFF, "every request carries the whole history", rests=True),
        State(
            _NEW,
            "the next request asks the server to keep a copy",
            icon="◇",
            ascii="?",
            role=Role.UPKEEP,
            cell=(1, 0),
        ),
        State(
            _ON,
            "the server answered; only new messages travel",
            rests=True,
            icon="✓",
            ascii="+",
            role=Role.OK,
            cell=(2, 0),
        ),
        State(
            _LOST,
            "the server's copy is gone; replay from the journal",
            icon="✕",
            ascii="x",
            role=Role.BAD,
            cell=(2, 1),
        ),
    ),
    initial=_OFF,
    transitions=(
        Transition("enable", _OFF, _NEW),
        Transition("confirm", _NEW, _ON, says="a whole reply to a create"),
        Transition("confirm", _ON, _ON, says="the newest id is the one to continue"),
        Transition("continue", _ON, _ON, says="a request continues the newest id"),
        Transition("lose", _ON, _LOST, says="expired, continued elsewhere, refused"),
        Transition("replay", _LOST, _NEW, says="the whole history, as a new thread"),
        Transition("disable", _NEW, _OFF),
        Transition("disable", _ON, _OFF),
        Transition("disable", _LOST, _OFF),
    ),
)


@final
@attrs.frozen
class Thread:
    """The server's copy of one conversation, as far as it is known.

    Attributes:
        state: Where the machine stands.
        losses: Copies lost in a row, without one that was continued between them.
        refused: The server keeps no copy of such requests: it said so, or it took one
            without that it had refused.
        unproved: A reply did not show that the server holds what it was to continue.
            Nothing is kept there until the settings or the client change.
    """

    state: ThreadState = ThreadState.OFF
    losses: int = 0
    refused: bool = False
    unproved: bool = False

    def sent(self, copy: Copy, fire: Fire, *, given_up: bool = False) -> "Thread":
        """The thread after a request was sent.

        Args:
            copy: How the request uses it.
            fire: How a row is executed.
            given_up: The copy is replaced because requests failed that continued it.

        Raises:
            IllegalEventError: It continues a copy that does not exist.
        """
        if copy is Copy.CONTINUE:
            return self._moved(fire, "continue")
        if copy is not Copy.CREATE:
            return self
        left = self.lost(fire)
        if left is not self and given_up:
            left = attrs.evolve(left, losses=left.losses + 1)
        return left._moved(fire, "replay" if self.state in (_ON, _LOST) else "enable")

    def confirmed(self, copy: Copy, fire: Fire, *, elsewhere: bool) -> "Thread":
        """The thread after a reply was confirmed.

        Args:
            copy: How the request used it.
            fire: How a row is executed.
            elsewhere: The copy does not hold the whole conversation: another model, which
                keeps no copy, wrote the reply, or a part is left out for a while.
        """
        if copy is Copy.NONE:
            return self.lost(fire)  # the server has not heard of this exchange
        made = self._moved(fire, "confirm")
        if copy is Copy.CONTINUE:
            made = attrs.evolve(made, losses=0)
        return made.lost(fire) if elsewhere else made

    def failed(self, copy: Copy, fire: Fire, *, unsupported: bool) -> "Thread":
        """The thread after the server refused a request, perhaps because of the copy."""
        if unsupported:
            return attrs.evolve(self._moved(fire, "disable"), refused=True)
        if copy is not Copy.CONTINUE:
            return self
        return attrs.evolve(self.lost(fire), losses=self.losses + 1)

    def doubted(self, fire: Fire) -> "Thread":
        """The thread after a reply that did not prove its copy."""
        return attrs.evolve(self._moved(fire, "disable"), unproved=True)

    def elsewhere(self, fire: Fire) -> "Thread":
        """The thread after the destination or the profile of requests changed."""
        return attrs.evolve(self.lost(fire), unproved=False)

    def lost(self, fire: Fire) -> "Thread":
        """The thread after the copy is lost."""
        if self.state != _ON:
            return self
        return self._moved(fire, "lose")

    def _moved(self, fire: Fire, trigger: str) -> "Thread":
        if self.state == _NEW and trigger == "enable":
            return self
        if self.state == _OFF and trigger == "disable":
            return self
        row = fire(THREAD, self.state, trigger, None, None)
        if row.target == self.state:
            return self
        return attrs.evolve(self, state=ThreadState(row.target))
