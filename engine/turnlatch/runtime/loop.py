"""The loop: ask the core for the next effect, record it, perform it, record the outcome.

Rules of this file:

* `next_effect` decides and `interpret` says what an answer means; the loop changes nothing
  by itself.
* `save` comes before every other `await`, also between a reply and what follows it.
  While it waits for the store nothing that is about to happen is done, and nothing that
  happened is forgotten.
* Whatever interrupts it, the turn ends in a declared state and every call it started has
  an ending.
"""

import contextlib
from collections.abc import Generator
from typing import Any, final

import anyio

from turnlatch.errors import JournalError, words
from turnlatch.logs import doing, log_fault
from turnlatch.output import Output
from turnlatch.ports import Clock, Delta
from turnlatch.runtime import perform, tool_calls
from turnlatch.runtime.environment import Offer, World
from turnlatch.runtime.judging import judged
from turnlatch.runtime.pricing import budgeted
from turnlatch.runtime.record import Record
from turnlatch.watching.event_log import EventLog
from turnlatch.watching.from_journal import at_rest
from turnlatch.watching.publish import publish_delta, publish_progress
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.effects.call_effects import (
    AskRule,
    CallRun,
    CheckArguments,
    Ending,
    Read,
    Reconcile,
    RunCalls,
)
from turnlatch_states.effects.calls import (
    after_run,
    changed_since,
    close,
    expirations,
    start,
    unsettled,
)
from turnlatch_states.effects.compaction import summary_made
from turnlatch_states.effects.effect import (
    Answer,
    Apply,
    AskHook,
    Conditions,
    Count,
    Effect,
    Probe,
    Rest,
    Send,
    Sleep,
)
from turnlatch_states.effects.interpret import interpret
from turnlatch_states.effects.next_effect import next_effect
from turnlatch_states.effects.requests import digest
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Call, Snapshot
from turnlatch_states.machine.turn import Substate, TurnState
from turnlatch_states.request.build import Request


@final
class WorkTime:
    """How long a turn was at work, by a monotonic clock.

    While it rests no time counts: a person decides, or the caller has to ask.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = 0.0  # of work that is over
        self._since: float | None = None

    @contextlib.contextmanager
    def counted(self) -> Generator[None]:
        """Count the time of this block."""
        self._since = self._clock.monotonic()
        try:
            yield
        finally:
            self._seconds = self.seconds
            self._since = None

    def restart(self) -> None:
        """Count from here."""
        self._seconds = 0.0
        if self._since is not None:
            self._since = self._clock.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds at work since the start."""
        if self._since is None:
            return self._seconds
        return self._seconds + self._clock.monotonic() - self._since


@final
class Driver(Record):
    """One conversation, its machine and its world."""

    def __init__(self, world: World, snapshot: Snapshot, feed: EventLog) -> None:
        super().__init__(world, snapshot, feed)
        self._scope: anyio.CancelScope | None = None
        self._why = ""
        self._time = WorkTime(world.clock)
        self._refused: dict[bytes, Fault] = {}
        self._counts: dict[Request, Fault | None] = {}
        self._read: dict[tuple[str, bool], Read] = {}
        self.output: Output[Any] | None = None  # what the caller asked this turn for

    def granted(self) -> None:
        """The caller asked for the turn, or asked again: it has all its time from here,
        and what was refused may be sent once more."""
        self._time.restart()
        self._refused.clear()

    # The loop.

    async def _loop(self, *, stream: bool) -> None:
        """Do what is next until the conversation rests."""
        while True:
            if self.world.offers is not None:
                self._offer(self.world.offers(self.snapshot.lasting))
            given = self._conditions(stream)
            effect = next_effect(self.snapshot, given)
            await self.carry_out(effect, given)
            if isinstance(effect, Rest):
                return

    def _offer(self, offer: Offer | None) -> None:
        """Offer the tools of the sources as they are now, from the next request on."""
        if offer is None:
            return
        profile, functions = offer
        self.world.equip(functions)
        self._read.clear()
        if profile != self.snapshot.lasting:
            self.apply(ev.ProfileChanged(profile))

    async def carry_out(self, effect: Effect, given: Conditions) -> None:
        """Announce an effect, perform it, and record the outcome."""
        self._announce(effect)
        if isinstance(effect, Apply | Rest):
            return
        if not isinstance(effect, CheckArguments) or effect.runs_code:
            await self.save()
        if isinstance(effect, RunCalls):
            return await self._run_calls(effect, given)
        self.doing = effect
        try:
            answer = await self._perform(effect)
        finally:
            self.doing = None
        before = self.snapshot
        for event in interpret(before, effect, answer, given):
            self._report(event)
        done = summary_made(before, self.snapshot)
        if done is not None and self.world.after_compaction is not None:
            await self.save()
            seconds = self.world.limits.hook_seconds_max
            await perform.tell_hook(self.world.after_compaction, done, seconds)

    async def _run_calls(self, effect: RunCalls, given: Conditions) -> None:
        reports = CallReports(self, given)
        stops = await tool_calls.run_calls(effect, self.world, reports)
        for event in interpret(self.snapshot, effect, stops, given):
            self._report(event)
        if reports.error is not None:
            raise reports.error

    async def _perform(self, effect: Effect) -> Answer:
        """Perform an effect; returns the outcome."""
        world = self.world
        match effect:
            case Send(request):
                self._counts.clear()  # they were about the request before
                self._read.clear()
                answer = await perform.send(world.model, request, self._shown(request))
                if isinstance(answer, Fault) and answer.definite:
                    self._refused[digest(request)] = answer
                if self.output is None or not isinstance(answer, Reply):
                    return answer
                return judged(answer, request, self.output)
            case Sleep():
                return await world.clock.sleep(effect.seconds)
            case Probe(request) if not effect.counted:
                return await perform.send(world.model, request)
            case Probe(request):
                return await perform.count(world.model, request)
            case Count(request):
                self._counts[request] = await perform.count(world.model, request)
                return None
            case AskHook():
                hook, seconds = world.before_compaction, world.limits.hook_seconds_max
                return await perform.ask_hook(hook, effect.plan, seconds)
            case CheckArguments():
                where = (effect.call.place, effect.shown)
                self._read[where] = await tool_calls.read_arguments(effect, world)
                return None
            case AskRule():
                return await tool_calls.ask_rule(effect, world)
            case Reconcile():
                return await tool_calls.find_out(effect, world)
            case RunCalls() | Apply() | Rest():
                return None

    def _shown(self, request: Request) -> perform.Report:
        """Shows watchers the pieces of a reply as they arrive."""

        def report(delta: Delta) -> None:
            publish_delta(self.feed, request.turn, request.attempt, delta)

        return report

    def _conditions(self, stream: bool) -> Conditions:
        """The inputs of the next decision in addition to the snapshot."""
        world, snapshot = self.world, self.snapshot
        turn = snapshot.turn
        charges = () if turn is None else turn.charges
        failed = turn is not None and turn.state == TurnState.FAILED
        return Conditions(
            world.policies,
            budgeted(world.limits, snapshot.profile.model, charges),
            self._time.seconds,
            world.clock.now(),
            world.ids.draw() if failed else 0.0,
            stream,
            world.limits.stream_above_tokens,
            world.before_compaction is not None,
            self._refused,
            self._counts,
            world.name,
            world.facts,
            world.call_limits,
            self._read,
            world.limits.outputs_max,
        )

    def _announce(self, effect: Effect) -> None:
        """Record what is about to be done, and say in the log why."""
        fault = self.turn.fault if effect.decision is not None else None
        if effect.decision is not None and fault is not None:
            self._log(fault, doing(effect.decision))
        for event in effect.announces:
            self._report(event)

    def _report(self, event: ev.Event) -> None:
        if isinstance(event, ev.Probed) and event.fault is not None:
            self._log(event.fault, "that was a trial, and what it shows is made use of")
        self.apply(event)

    def _log(self, fault: Fault, now: str) -> None:
        turn = self.turn
        log_fault(self.world.name, turn.number, turn.attempt, fault, now)

    # Starting and stopping it.

    @property
    def _asked(self) -> bool:
        """True if the record says that the turn waits for a person: a cancellation that
        comes after that changes nothing."""
        asking = self.snapshot.substate == Substate.ASKING
        return asking and not self.unsaved and at_rest(self.snapshot)

    async def run(self, *, stream: bool) -> None:
        """Work on the turn until the conversation rests.

        Raises:
            JournalError: The journal failed; see `save`.
        """
        with anyio.CancelScope() as scope, self._time.counted():
            try:
                self._scope = scope
                self._read.clear()  # tools may be others now
                self.expire()
                await self._loop(stream=stream)
                await self.save()
            except JournalError:
                raise
            except BaseException as error:
                # The fault is kept in memory if it cannot be saved now: what stops the
                # turn must reach the caller, and the next `save` saves the rest.
                with contextlib.suppress(JournalError):
                    if isinstance(error, Exception):
                        said = f"{type(error).__name__}: {words(error)}"
                        await self.stop(said, FaultKind.LOCAL)
                    elif not self._asked:
                        await self.stop(self._why or "the task was cancelled")
                raise
            finally:
                self._scope = None
                self._why = ""
        with contextlib.suppress(JournalError):  # of a turn that was stopped meanwhile
            await self.save()

    @property
    def seconds(self) -> float:
        """How long the turn was at work since the caller asked for it."""
        return self._time.seconds

    @property
    def running(self) -> bool:
        """True while `run` is at work."""
        return self._scope is not None

    def interrupt(self, why: str) -> bool:
        """Stop the running turn; True if one was running. Returns at once."""
        if self._scope is None:
            return False
        self._why = why
        self._scope.cancel()
        return True

    # Calls.

    def expire(self) -> None:
        """Deny the calls whose questions have expired."""
        for event in expirations(self.snapshot, self.world.clock.now()):
            self.apply(event)

    async def ask_anew(self, call: Call) -> bool:
        """Ask again about a call that would run otherwise than it was shown; True if
        it would."""
        self._read.clear()
        given = self._conditions(stream=False)
        while effect := changed_since(self.snapshot, self.turn, call, given):
            await self.carry_out(effect, given)
            if isinstance(effect, Apply):
                return True
        return False

    async def settle(self) -> str:
        """Find out how the calls ended whose end was not seen, as far as can be; why
        that was interrupted, if it was."""
        self._scope = anyio.CancelScope()
        with self._scope as scope:
            try:
                given = self._conditions(stream=False)
                while effect := unsettled(self.snapshot, given):
                    await self.carry_out(effect, given)
            finally:
                self._scope = None
                with contextlib.suppress(JournalError):  # kept for the next `save`
                    await self.save()
        why, self._why = self._why, ""
        return why if scope.cancelled_caught else ""


@final
class CallReports:
    """Records what calls that run at the same time report.

    A journal that fails does not stop them: they end first, then `error` is told.
    """

    def __init__(self, driver: Driver, given: Conditions) -> None:
        self._driver = driver
        self._given = given
        self.error: JournalError | None = None

    async def begin(self, run: CallRun) -> bool:
        """Make the start of a call durable; False if the call must not start."""
        self._driver.apply(start(run))
        try:
            await self._driver.save()
        except JournalError as error:
            self.error = error
            return False
        return True

    async def end(self, run: CallRun, ending: Ending, *, alone: bool) -> None:
        """Record how a call ended; where it is not alone, durably."""
        try:
            await self._driver.carry_out(
                after_run(run, ending, self._given), self._given
            )
            if not alone:
                await self._driver.save()
        except JournalError as error:
            self.error = error

    def progressed(self, run: CallRun, text: str) -> None:
        """Tell watchers how far a call has come."""
        publish_progress(self._driver.feed, run.turn, run.call, text)

    def stopped(self, run: CallRun, ending: Ending) -> None:
        """Record how a call ended while it was being stopped."""
        self._driver.apply(close(run, ending))
