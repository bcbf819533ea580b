"""One process: what the engine does, by the engine's own pure functions.

The loop and the record are followed here as `runtime/loop.py` and `runtime/record.py` have
them: every decision, every event and every change of what is remembered is made by the
functions in `Parts`. A test replaces one of these to plant a bug.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import attrs

from turnlatch.runtime.unsaved import Kept, stopping
from turnlatch.testing.verify.judge import BrokenError, PropertyJudge
from turnlatch.testing.verify.situation import (
    Next,
    ProcessPlace,
    Situation,
    Stored,
    Writing,
    confirmed,
)
from turnlatch.testing.verify.world import TOOLS
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.effects.call_effects import (
    CallRun,
    CheckArguments,
    Ending,
    Reconcile,
    RunCalls,
    ToolFacts,
)
from turnlatch_states.effects.calls import after_run, lost_calls, unsettled
from turnlatch_states.effects.effect import (
    Answer,
    Apply,
    Conditions,
    Effect,
    Rest,
    Send,
)
from turnlatch_states.effects.interpret import interpret
from turnlatch_states.effects.next_effect import next_effect
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import Step, fold, step
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.machine.writer import WRITER, WriterState

DECISIONS_MAX: Final = 60
"""Most decisions in a row without anything to wait for; more is a loop that never ends."""


_GIVEN: Final = Conditions(tools=TOOLS)

MEMORY_MAX: Final = 20_000
"""Most results of steps that are remembered: many situations share a snapshot."""


def append(stored: Stored, epoch: int, events: Sequence[Event]) -> Stored | None:
    """The journal after an append under an epoch; None where a newer writer is found.

    A test holds this to what the stores do.
    """
    trigger = "append" if epoch == stored.epoch else "lose"
    found = WRITER.choose(WriterState.HELD.value, trigger, None, None)
    if found.target == WriterState.LOST.value:
        return None
    return stored._replace(rows=(*stored.rows, *events))


def reopened(stored: Stored) -> Stored:
    """The journal as the next process that opens it finds it."""
    return stored


@final
@attrs.frozen
class Parts:
    """The functions that decide: the engine's own, unless a test plants a bug.

    Attributes:
        step: The step of an event.
        fold: The same, while a journal is loaded.
        next_effect: The next effect.
        interpret: The events of an answer.
        after_run: The effect after the end of a call.
        unsettled: The effect that settles a lost call before another message.
        lost_calls: The events about the calls of a process that has died.
        stopping: The events that bring a turn to rest.
        recorded: The memory once an append has succeeded.
        refused: The memory once an append has failed.
        looked_up: The memory once an append in doubt was looked up.
        append: The journal after an append.
        reopened: The journal as it is found when it is opened.
    """

    step: Callable[[Snapshot, Event], Step] = step
    fold: Callable[[Snapshot, Event], Snapshot] = fold
    next_effect: Callable[[Snapshot, Conditions], Effect] = next_effect
    interpret: Callable[[Snapshot, Effect, Answer, Conditions], tuple[Event, ...]] = (
        interpret
    )
    after_run: Callable[[CallRun, Ending, Conditions], Apply | Reconcile] = after_run
    unsettled: Callable[[Snapshot, Conditions], Effect | None] = unsettled
    lost_calls: Callable[[Snapshot, Mapping[str, ToolFacts]], list[Event]] = lost_calls
    stopping: Callable[[Snapshot, str, FaultKind], tuple[Event, ...]] = stopping
    recorded: Callable[[Kept], Kept] = Kept.recorded
    refused: Callable[[Kept], Kept] = Kept.refused
    looked_up: Callable[[Kept, Sequence[Event]], Kept | None] = Kept.looked_up
    append: Callable[[Stored, int, Sequence[Event]], Stored | None] = append
    reopened: Callable[[Stored], Stored] = reopened


@final
class Process:
    """The steps of a process; every method gives the next situation."""

    def __init__(self, parts: Parts, judge: PropertyJudge) -> None:
        self.parts = parts
        self.judge = judge
        self._steps: dict[tuple[int, Event], tuple[Snapshot, Step]] = {}
        self._folds: dict[tuple[int, Event], tuple[Snapshot, Snapshot]] = {}

    def _step(self, before: Snapshot, event: Event) -> Step:
        known = self._steps.get((id(before), event))
        if known is not None:
            return known[1]
        if len(self._steps) >= MEMORY_MAX:
            self._steps.clear()
        made = self.parts.step(before, event)
        if not made.dropped:
            self.judge.committed(before, event, made)
        self._steps[id(before), event] = before, made
        return made

    def _fold(self, before: Snapshot, event: Event) -> Snapshot:
        known = self._folds.get((id(before), event))
        if known is not None:
            return known[1]
        if len(self._folds) >= MEMORY_MAX:
            self._folds.clear()
        try:
            made = self.parts.fold(before, event)
        except IllegalEventError as refused:
            raise BrokenError("replay", f"loading fails: {refused}") from refused
        self._folds[id(before), event] = before, made
        return made

    # Memory.

    def apply(self, one: Writing, *events: Event) -> Writing:
        """Give the machine some events."""
        kept = one.kept
        for event in events:
            before = kept.snapshot
            try:
                made = self._step(before, event)
            except IllegalEventError as refused:
                raise BrokenError("legal", str(refused)) from refused
            if made.dropped:
                continue
            kept = kept.applied(event, made)
            if isinstance(event, ev.TurnOpened) or (
                isinstance(event, ev.TurnRetried) and event.asked
            ):
                one = one._replace(refused={})
        return one._replace(kept=kept)

    def given(self, one: Writing) -> Conditions:
        """The other inputs of a decision."""
        if not (one.refused or one.counts or one.read):
            return _GIVEN
        return attrs.evolve(
            _GIVEN, refused=one.refused, counts=one.counts, read=one.read
        )

    # The loop.

    def drive(self, at: Situation, one: Writing) -> Situation:
        """Decide until there is something to wait for."""
        for _ in range(DECISIONS_MAX):
            effect = self.parts.next_effect(one.snapshot, self.given(one))
            one = self.apply(one, *effect.announces)
            match effect:
                case Rest():
                    return self.save(at, one, Next.REST)
                case Apply():
                    continue
                case CheckArguments():
                    where = (effect.call.place, effect.shown)
                    found = effect.call.use.input or {}
                    one = one._replace(read={**one.read, where: found})
                case _:
                    one = one._replace(effect=effect)
                    return self.save(at, one, Next.PERFORM)
        raise BrokenError("progress", f"{DECISIONS_MAX} decisions in a row")

    def settle(self, at: Situation, one: Writing) -> Situation:
        """Settle what was left open, and rest; then the message's turn is opened."""
        for _ in range(DECISIONS_MAX):
            effect = self.parts.unsettled(one.snapshot, self.given(one))
            if effect is None:
                break
            one = self.apply(one, *effect.announces)
            if not isinstance(effect, Apply):
                one = one._replace(effect=effect, opens=True)
                return self.save(at, one, Next.PERFORM)
        one = self.apply(
            one,
            *self.parts.stopping(
                one.snapshot, "another message came first", FaultKind.CANCELLED
            ),
        )
        return self.save(at, one._replace(opens=False), Next.OPEN)

    def answered(
        self, at: Situation, one: Writing, answer: Answer, **changes: Any
    ) -> Situation:
        """The effect of a process came to an answer."""
        effect = one.effect
        assert effect is not None, "a process that performs has an effect"
        given = self.given(one)
        one = one._replace(**changes)
        events = self.parts.interpret(one.snapshot, effect, answer, given)
        one = self.apply(one, *events)
        return self.go_on(at, one)

    def go_on(self, at: Situation, one: Writing) -> Situation:
        """Once an effect has its answer."""
        if one.running:
            return self.save(at, one, Next.GO_ON)
        if one.failed:
            return put(at, idle(one))
        if one.opens:
            return self.settle(at, one)
        return self.drive(at, one._replace(effect=None))

    def call_ended(
        self, at: Situation, one: Writing, run: CallRun, ending: Ending
    ) -> Situation:
        """A call came to its end."""
        left = tuple(other for other in one.running if other is not run)
        effect = self.parts.after_run(run, ending, self.given(one))
        one = self.apply(one._replace(running=left), *effect.announces)
        if isinstance(effect, Reconcile):
            return self.save(at, one._replace(effect=effect), Next.PERFORM)
        return self.go_on(at, one)

    # The journal.

    def save(self, at: Situation, one: Writing, then: Next) -> Situation:
        """Append what is unsaved, or go on at once."""
        if one.kept.begun is not None:
            found = self.look(at, one)
            if found is None:
                return put(at, idle(one))
            at, one = found
        if not one.kept.unsaved:
            return self.after_append(at, one, then)
        kept = one.kept.began(len(at.stored.rows) + 1)
        return put(at, one._replace(kept=kept, place=ProcessPlace.APPENDING, then=then))

    def look(self, at: Situation, one: Writing) -> tuple[Situation, Writing] | None:
        """Look up an append in doubt, under a new epoch; None where that fails."""
        begun = one.kept.begun
        assert begun is not None, "an append is in doubt"
        if one.epoch != at.stored.epoch:
            return None
        epoch = one.epoch + 1
        found = at.stored.rows[begun.first - 1 :]
        kept = self.parts.looked_up(one.kept, found)
        if kept is None:
            raise BrokenError("legal", "an append in doubt was recorded in part")
        stored = at.stored._replace(epoch=epoch)
        at = at._replace(stored=stored)
        at, kept = self.tell(at, kept)
        return at, one._replace(kept=kept, epoch=epoch)

    def tell(self, at: Situation, kept: Kept) -> tuple[Situation, Kept]:
        """Tell watchers what is durable."""
        while kept.untold:
            (sequence, told), *_ = kept.untold
            self.judge.told(at.stored, sequence, told.event)
            wires = confirmed(told.made.snapshot)
            stored = at.stored._replace(told=sequence, confirmed=wires)
            at = at._replace(stored=stored)
            kept = kept.told()
        return at, kept

    def landed(self, at: Situation, one: Writing) -> Situation | None:
        """The situation once an append has reached the journal; None where it is refused."""
        events = one.kept.events
        stored = self.parts.append(at.stored, one.epoch, events)
        if stored is None:
            return None
        self.judge.fenced(at.stored, one.epoch, stored)
        replayed = stored.replayed
        for event in stored.rows[len(at.stored.rows) :]:
            replayed = self._fold(replayed, event)
        stored = stored._replace(replayed=replayed)
        self.judge.replayed(stored, one, at.ran)
        return at._replace(stored=stored)

    def appended(self, at: Situation, one: Writing) -> Situation:
        """The append has returned."""
        kept = self.parts.recorded(one.kept)
        at, kept = self.tell(at, kept)
        return self.after_append(at, one._replace(kept=kept), one.then)

    def append_failed(self, at: Situation, one: Writing, kept: Kept) -> Situation:
        """The append has raised an error, with that remembered."""
        one = one._replace(kept=kept, opens=False)
        if one.running and one.then is not Next.PERFORM:
            return put(at, one._replace(place=ProcessPlace.PERFORMING, failed=True))
        return put(at, idle(one))

    def after_append(self, at: Situation, one: Writing, then: Next) -> Situation:
        """The step after an append."""
        match then:
            case Next.REST:
                self.judge.rested(at, one)
                return put(at, idle(one))
            case Next.PERFORM:
                return self.perform(at, one)
            case Next.GO_ON:
                return put(at, one._replace(place=ProcessPlace.PERFORMING))
            case Next.DRIVE:
                return self.drive(at, one)
            case Next.OPEN:
                return self.open_turn(at, one)

    def open_turn(self, at: Situation, one: Writing) -> Situation:
        """Open the turn of a message."""
        number = one.snapshot.turns + 1
        return self.drive(at, self.apply(one, ev.TurnOpened(number, self.judge.said)))

    def perform(self, at: Situation, one: Writing) -> Situation:
        """Begin to perform an effect."""
        effect = one.effect
        assert effect is not None, "something is performed"
        self.judge.performed(at, one, effect)
        if isinstance(effect, Send):
            one = one._replace(counts={}, read={})
        if isinstance(effect, RunCalls):
            for run in effect.starts:
                at = self.judge.begun(at, run)
            one = one._replace(running=effect.starts)
        return put(at, one._replace(place=ProcessPlace.PERFORMING))

    # Life and death.

    def open(self, at: Situation) -> Situation:
        """A process opens the conversation and settles what the last one left."""
        stored = self.parts.reopened(at.stored)
        self.judge.opened(at.stored, stored)
        stored = stored._replace(epoch=stored.epoch + 1)
        one = Writing(Kept(stored.replayed), stored.epoch)
        turn = one.snapshot.turn
        if turn is not None and turn.state == TurnState.CONFIRMED:
            events = tuple(self.parts.lost_calls(one.snapshot, TOOLS))
        else:
            events = self.parts.stopping(
                one.snapshot, "the process ended", FaultKind.INTERRUPTED
            )
        at = at._replace(stored=stored)
        return self.save(at, self.apply(one, *events), Next.REST)


def put(at: Situation, one: Writing) -> Situation:
    """The situation with that writer."""
    return at._replace(writer=one)


def idle(one: Writing) -> Writing:
    """A process whose method has returned."""
    return one._replace(
        place=ProcessPlace.IDLE,
        then=Next.REST,
        effect=None,
        running=(),
        opens=False,
        failed=False,
        read={},
    )
