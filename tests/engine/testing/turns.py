"""Our own turn machine as a machine under test: events are made for the rows to take."""

from collections.abc import Iterator
from typing import Final

import attrs
from tests.states.strategies import (
    FAULTS,
    PROFILE,
    call,
    legal_events,
    reply,
    summary,
    text,
)

from turnlatch_states.api.faults import FaultKind
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.fsm.table import Transition
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import begin, step
from turnlatch_states.machine.turn import TRIGGERS, TURN
from turnlatch_states.request.view import EMPTY


def examples(turn: int, attempt: int) -> Iterator[Event]:
    """An event for every trigger, in its plainest form."""
    yield ev.TurnOpened(turn + 1, b'{"type":"text","text":"hi"}')
    yield ev.RequestSent(turn, attempt + 1)
    yield ev.ReplyConfirmed(turn, attempt, reply(1, "end_turn"))
    yield ev.TurnFailed(turn, attempt, FAULTS[0])
    yield ev.RetryScheduled(turn, 1, 1.0, 2.0)
    yield ev.RetryCancelled(turn)
    yield ev.TurnRetried(turn, asked=True)
    yield ev.Steered(turn, b'{"type":"text","text":"and"}')
    yield ev.CallStarted(turn, "toolu_1", "key")
    yield ev.TurnContinued(turn)
    yield ev.CompactionSent(turn, attempt + 1, 1)
    yield ev.CompactionConfirmed(turn, attempt, summary(1))
    yield ev.RemedyChosen(turn, Remedy.SHRINK, "full", EMPTY)
    yield ev.Probed(turn, "a trial", passed=False)
    yield ev.TurnSuspended(turn, "credit", 3.0)
    yield ev.Pinned("task", "never forget")
    yield ev.TurnAbandoned(turn)
    yield ev.Rewound(0)
    yield ev.ProfileChanged(PROFILE)
    yield ev.Forked("other", 1)


def confirmed() -> Snapshot:
    """A conversation after one whole turn."""
    snapshot = BORN
    for event in list(examples(0, 0))[:1] + list(examples(1, 0))[1:2]:
        snapshot = step(snapshot, event).snapshot
    answer = reply(10**5, "end_turn", text())
    return step(snapshot, ev.ReplyConfirmed(1, 1, answer)).snapshot


BORN: Final = begin(ev.ConversationOpened(PROFILE))
TOO_LONG: Final = next(one for one in FAULTS if one.kind is FaultKind.TOO_LONG)
SAID: Final = confirmed().history


class TurnDriver:
    """A conversation of the pure core, moved by `step`.

    It has an exchange behind it, which a compaction can cover.
    """

    def __init__(self) -> None:
        self._snapshot = attrs.evolve(BORN, history=SAID)
        self._fresh = 0
        self._event: Event | None = None

    @property
    def state(self) -> str:
        """The substate of the turn."""
        return self._snapshot.substate

    def _candidates(self, trigger: str) -> Iterator[Event]:
        turn = self._snapshot.turn
        number, attempt = (turn.number, turn.attempt) if turn else (0, 0)
        # What was said decides what may follow: a fault that is too long can be compacted,
        # a single call can be waited for alone.
        found: list[Event] = [ev.TurnFailed(number, attempt, TOO_LONG)]
        one_call = reply(self._fresh, "tool_use", call(f"toolu_{self._fresh}"))
        found.append(ev.ReplyConfirmed(number, attempt, one_call))
        found += legal_events(self._snapshot, self._fresh)
        found += examples(number, attempt)
        yield from (one for one in found if TRIGGERS[type(one)] == trigger)

    def arrange(self, row: Transition) -> bool:
        """Find an event that the table answers with this row."""
        self._event = None
        for event in self._candidates(row.trigger):
            try:
                moved = step(self._snapshot, event)
            except IllegalEventError:
                continue
            if moved.row == row:
                self._event = event
                return True
        return False

    def fire(self, trigger: str) -> None:
        """Apply the arranged event, or any of the trigger's, which is then illegal."""
        event = self._event or next(self._candidates(trigger))
        self._event = None
        moved = step(self._snapshot, event)
        if moved.dropped:
            TURN.refuse(self.state, trigger)
        self._snapshot = moved.snapshot
        self._fresh += 1
