"""Everything that may happen next in a situation: the caller, the world, the journal, death."""

from collections.abc import Callable, Iterator
from typing import TypeAlias, final

from turnlatch.runtime.opening import size_before
from turnlatch.testing.verify.judge import BrokenError, PropertyJudge
from turnlatch.testing.verify.process import Parts, Process, idle
from turnlatch.testing.verify.situation import (
    QUIET,
    Next,
    ProcessPlace,
    Situation,
    Stored,
    VerifyBounds,
    Writing,
)
from turnlatch.testing.verify.world import (
    FAULTS,
    PROFILE,
    STEERED,
    SUMMARY_FAULTS,
    replies,
    result,
    summaries,
    text_reply,
)
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.effects.call_effects import CallRun, Reconcile, RunCalls
from turnlatch_states.effects.calls import expirations
from turnlatch_states.effects.effect import Count, Judged, Probe, Send, Sleep
from turnlatch_states.effects.requests import digest
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot, unheard
from turnlatch_states.machine.steering import asked_again
from turnlatch_states.machine.step import begin
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.machine.turn_states import Substate
from turnlatch_states.request.build import Request
from turnlatch_states.request.profile import Purpose

Move: TypeAlias = tuple[str, Callable[[], Situation]]
"""A move in words, and the situation that it leads to."""


def start(bounds: VerifyBounds) -> Situation:
    """A conversation that was just begun, and that no process has open."""
    opened = ev.ConversationOpened(PROFILE)
    return Situation(Stored((opened,), begin(opened), told=1), bounds)


@final
class Moves:
    """The moves of every situation.

    Args:
        parts: The functions that decide.
    """

    def __init__(self, parts: Parts | None = None) -> None:
        self.judge = PropertyJudge()
        self.process = Process(parts or Parts(), self.judge)

    def __call__(self, at: Situation) -> Iterator[Move]:
        """Everything that may happen next."""
        one = at.writer
        if one is None:
            yield "a process opens the conversation", lambda: self.process.open(at)
        else:
            yield from self._of(at, one)
            yield from self._ends(at, one)
        if at.old is not None:
            old = at.old
            yield "the stalled writer wakes", lambda: self._wakes(at, old)

    def _of(self, at: Situation, one: Writing) -> Iterator[Move]:
        match one.place:
            case ProcessPlace.IDLE:
                if one.kept.begun is not None or one.kept.unsaved:
                    again = one
                    yield (
                        "the caller tries again",
                        lambda: self.process.save(at, again, Next.REST),
                    )
                else:
                    yield from self._caller(at, one)
            case ProcessPlace.APPENDING:
                yield from self._journal(at, one)
            case ProcessPlace.PERFORMING:
                yield from self._answers(at, one)
                if at.left.moves:
                    yield from self._meanwhile(_spent(at, "moves"), one)

    def _ends(self, at: Situation, one: Writing) -> Iterator[Move]:
        """The process dies, or another writer takes over."""
        if at.left.crashes:
            yield "the process dies", lambda: _died(_spent(at, "crashes"))
        if at.left.writers and at.old is None:
            after = _spent(at, "writers")._replace(old=one, writer=None)
            yield "another writer takes over", lambda: self.process.open(after)

    # The journal.

    def _journal(self, at: Situation, one: Writing) -> Iterator[Move]:
        do, kept = self.process, one.kept
        yield "the append returns", lambda: do.appended(self._landed(at, one), one)
        if at.left.crashes:
            spent = _spent(at, "crashes")
            yield (
                "the process dies once the append is recorded",
                lambda: _died(self._landed(spent, one)),
            )
        if at.left.doubts:
            spent = _spent(at, "doubts")
            yield (
                "the append fails",
                lambda: do.append_failed(spent, one, do.parts.refused(kept)),
            )
            yield (
                "the append is recorded, and the writer is not told",
                lambda: do.append_failed(self._landed(spent, one), one, kept),
            )
            yield (
                "the append is not recorded, and the writer is not told",
                lambda: do.append_failed(spent, one, kept),
            )

    def _landed(self, at: Situation, one: Writing) -> Situation:
        landed = self.process.landed(at, one)
        if landed is None:
            raise BrokenError("fenced", "the append of the newest writer is refused")
        return landed

    def _wakes(self, at: Situation, old: Writing) -> Situation:
        """A writer that was replaced goes on, and finds out."""
        do, at = self.process, at._replace(old=None)
        turn = old.snapshot.turn
        if old.place is ProcessPlace.IDLE and not old.kept.unsaved:
            old = do.apply(old, ev.Steered(old.snapshot.turns, STEERED))
        elif old.place is ProcessPlace.PERFORMING and turn is not None:
            if isinstance(old.effect, Send) and turn.state == TurnState.SENT:
                reply = text_reply(_serial(at, old))
                given = do.given(old)
                events = do.parts.interpret(old.snapshot, old.effect, reply, given)
                old = do.apply(old, *events)
            elif old.running:
                run = old.running[0]
                ending = result(run, Closing.RESULT, "late")
                effect = do.parts.after_run(run, ending, do.given(old))
                old = do.apply(old, *effect.announces)
        if not old.kept.unsaved:
            return at
        landed = do.landed(at, old)
        return at if landed is None else landed

    # The world.

    def _answers(self, at: Situation, one: Writing) -> Iterator[Move]:
        do, effect = self.process, one.effect
        match effect:
            case Send(request) if request.purpose is Purpose.MESSAGE:
                yield from self._replies(at, one, request)
            case Send(request):
                yield from self._summaries(at, one, request)
            case Sleep():
                yield "the wait is over", lambda: do.answered(at, one, None)
            case Probe():
                yield (
                    "the trial passes",
                    lambda: do.answered(
                        at, one, None if effect.counted else text_reply(0)
                    ),
                )
                if at.left.faults:
                    spent, fault = _spent(at, "faults"), effect.searched
                    yield "the trial fails", lambda: do.answered(spent, one, fault)
            case Count(request):
                counts = {**one.counts, request: None}
                yield "it is counted", lambda: do.answered(at, one, None, counts=counts)
            case Reconcile():
                yield from self._found(at, one, effect)
            case RunCalls() if one.running:
                for run in one.running:
                    yield from self._ending(at, one, run)
            case _ if one.running:
                for run in one.running:
                    yield from self._ending(at, one, run)
            case _:
                yield "it is done", lambda: do.answered(at, one, "")

    def _replies(self, at: Situation, one: Writing, request: Request) -> Iterator[Move]:
        do, left = self.process, at.left
        serial = _serial(at, one)
        for words, reply, calls in replies(serial, left.calls, left.faults):
            used = len(reply.tool_uses) if calls < 0 else calls
            spent = at._replace(left=left.without("calls", used))
            if words == "the model declines":
                spent = _spent(at, "faults")

            def replied(spent: Situation = spent, reply: object = reply) -> Situation:
                return do.answered(spent, one, reply)

            yield words, replied
        if left.faults:
            failed = _spent(at, "faults")
            other = Judged(text_reply(serial), "another form")
            yield (
                "the answer has not the form asked for",
                lambda: do.answered(failed, one, other),
            )
            for words, fault in FAULTS:
                yield words, self._failing(failed, one, request, fault)

    def _failing(
        self, at: Situation, one: Writing, request: Request, fault: Fault
    ) -> Callable[[], Situation]:
        refused = one.refused
        if fault.definite:
            refused = {**refused, digest(request): fault}
        return lambda: self.process.answered(at, one, fault, refused=refused)

    def _summaries(
        self, at: Situation, one: Writing, request: Request
    ) -> Iterator[Move]:
        turn = one.snapshot.turn
        assert turn is not None, "a turn compacts"
        assert turn.compacting is not None, "a turn compacts"
        serial, method = _serial(at, one), turn.compacting.method
        for place, (words, reply) in enumerate(
            summaries(serial, method, at.left.faults)
        ):
            spent = _spent(at, "faults") if place else at

            def summed(spent: Situation = spent, reply: object = reply) -> Situation:
                return self.process.answered(spent, one, reply)

            yield words, summed
        for words, fault in SUMMARY_FAULTS if at.left.faults else ():
            yield words, self._failing(_spent(at, "faults"), one, request, fault)

    def _ending(self, at: Situation, one: Writing, run: CallRun) -> Iterator[Move]:
        name, do = run.call.use.name, self.process
        told = result(run, Closing.RESULT, "done")
        yield f"{name} returns", lambda: do.call_ended(at, one, run, told)
        if at.left.faults:
            late = result(run, Closing.UNKNOWN, "too late")
            spent = _spent(at, "faults")
            yield (
                f"the end of {name} is not seen",
                lambda: do.call_ended(spent, one, run, late),
            )

    def _found(self, at: Situation, one: Writing, effect: Reconcile) -> Iterator[Move]:
        run, do = effect.run, self.process
        happened = at.ran.get(run.call.place, 0) > 0
        told = result(run, Closing.NOT_EXECUTED, "it did not happen")
        if happened:
            told = result(run, Closing.RESULT, "it happened")
        unknown = result(run, Closing.UNKNOWN, "it cannot be found out")
        name = run.call.use.name
        found = "happened" if happened else "did not happen"
        yield f"{name} {found}, says reconcile", lambda: do.answered(at, one, told)
        yield f"{name} cannot be reconciled", lambda: do.answered(at, one, unknown)

    # The caller.

    def _meanwhile(self, at: Situation, one: Writing) -> Iterator[Move]:
        """While the turn runs; `at` has the move taken off already."""
        do, snapshot = self.process, one.snapshot
        if not snapshot.said:
            steered = ev.Steered(snapshot.turns, STEERED)
            yield (
                "the caller steers",
                lambda: do.save(at, do.apply(one, steered), Next.GO_ON),
            )
        why = "the turn was interrupted"

        def interrupted() -> Situation:
            events = do.parts.stopping(snapshot, why, FaultKind.CANCELLED)
            stopped = idle(do.apply(one, *events))
            return do.save(at, stopped, Next.REST)

        if not one.opens:
            yield "the caller interrupts", interrupted

    def _caller(self, at: Situation, one: Writing) -> Iterator[Move]:
        """The methods that may be called while none runs."""
        snapshot, turn, do = one.snapshot, one.snapshot.turn, self.process
        if not at.last:
            last = not at.left.turns
            spent = _spent(at, "turns") if not last else at
            if last:
                spent = at._replace(left=QUIET, last=True)
            words = "the caller sends the last message" if last else "the caller sends"
            yield words, lambda: self._sends(spent, one)
        if turn is None:
            return
        if turn.state == TurnState.CONFIRMED and not snapshot.resting:
            yield from self._decisions(at, one)
        if at.left.moves:
            yield from self._changes(_spent(at, "moves"), one)
        compactable = snapshot.resting and not turn.calls and snapshot.history
        if at.left.turns and compactable and not unheard(snapshot):
            opened = ev.TurnOpened(snapshot.turns + 1, b"", None, Purpose.COMPACTION)
            yield (
                "the caller compacts",
                lambda: do.drive(_spent(at, "turns"), do.apply(one, opened)),
            )

    def _sends(self, at: Situation, one: Writing) -> Situation:
        if one.snapshot.resting:
            return self.process.open_turn(at, one)
        return self.process.settle(at, one)

    def _decisions(self, at: Situation, one: Writing) -> Iterator[Move]:
        """Answers to the questions about calls, and going on after a crash."""
        turn, do = one.snapshot.turn, self.process
        assert turn is not None, "a turn asks"
        for call in turn.open_calls:
            if call.state is not CallState.ASKED:
                continue
            for words, event in (
                ("approves", ev.CallApproved(turn.number, call.use.id, call.digest)),
                ("denies", ev.CallDenied(turn.number, call.use.id, "no")),
            ):
                yield (
                    f"the caller {words} {call.use.name}",
                    self._noted(at, one, event, Next.DRIVE),
                )
        if turn.substate != Substate.ASKING:
            yield "the caller asks the turn to go on", lambda: do.drive(at, one)
            return
        late = expirations(one.snapshot, float("inf"))
        if late:
            yield "the questions expire", lambda: do.drive(at, do.apply(one, *late))

    def _noted(
        self, at: Situation, one: Writing, event: Event, then: Next
    ) -> Callable[[], Situation]:
        do = self.process
        return lambda: do.save(at, do.apply(one, event), then)

    def _changes(self, at: Situation, one: Writing) -> Iterator[Move]:
        """Moves that are bounded; `at` has one taken off already."""
        snapshot, turn, do = one.snapshot, one.snapshot.turn, self.process
        assert turn is not None, "a turn was opened"
        if turn.state == TurnState.FAILED and not turn.abandoned and snapshot.resting:
            again = asked_again(snapshot, turn.number)
            yield "the caller retries", lambda: do.drive(at, do.apply(one, again))
            given_up = ev.TurnAbandoned(turn.number)
            yield "the caller abandons", self._noted(at, one, given_up, Next.REST)
        if not snapshot.said:
            steered = ev.Steered(snapshot.turns, STEERED)
            yield "the caller steers", self._noted(at, one, steered, Next.REST)
        if snapshot.resting and _turns(snapshot):
            size = size_before(snapshot, 1)
            back = ev.Rewound(size)
            yield "the caller rewinds", self._noted(at, one, back, Next.REST)


def _turns(snapshot: Snapshot) -> int:
    return len({one.turn for one in snapshot.history})


def _spent(at: Situation, name: str) -> Situation:
    return at._replace(left=at.left.without(name))


def _died(at: Situation) -> Situation:
    return at._replace(writer=None)


def _serial(at: Situation, one: Writing) -> int:
    """A number that no reply of this record has: both are entries of the same place."""
    epoch = one.epoch * 1000
    return epoch + one.snapshot.entries


def rests(at: Situation) -> bool:
    """The last message was confirmed, and its process is at rest."""
    one = at.writer
    if (
        one is None
        or not at.last
        or one.place is not ProcessPlace.IDLE
        or one.kept.unsaved
    ):
        return False
    turn = one.snapshot.turn
    return turn is not None and turn.substate == Substate.DONE
