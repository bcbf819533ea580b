"""The driver: performs what the machine orders, and reports back what happened.

Rules of this file:

* The machine decides; the driver builds, sends, runs, waits, and tells it how that
  ended. It changes no state by itself.
* Nothing is awaited while an event is unsaved: `flush` comes before every `await`, and
  between a reply and its record there is no `await` at all.
* Whatever interrupts it, the turn ends in a declared state and every call it started
  has an ending.
"""

import contextlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, cast, final

import anyio
import attrs

from detent.checking import staged_fault
from detent.errors import JournalError
from detent.happenings import Feed
from detent.narrator import narrate, narrate_delta
from detent.ports import Clock, Delta, Ids, Journal, Model, RequestFailedError
from detent.settings import Limits
from detent.tools import Tool, ToolCall
from detent.tools.execution import Ending, run_tool, unusable
from detent_states import events as ev
from detent_states.call import CallState, Closing
from detent_states.commands import (
    ConsiderRetry,
    ContinueTurn,
    Prepare,
    Rest,
    RunCalls,
    SendRequest,
)
from detent_states.events import Event
from detent_states.faults import Fault, FaultKind, RetryPolicy
from detent_states.history import Purpose, Request, betas, build
from detent_states.outcome import Outcome, outcome, unusable_summary
from detent_states.reply import Reply
from detent_states.snapshot import Call, Snapshot, Turn
from detent_states.step import Step, closed_result, orders, step
from detent_states.turn import TurnState

NEVER_STARTED = "Not executed: the journal failed before this call could start."

_FACTS = (ev.ReplyConfirmed, ev.CompactionConfirmed, ev.CallClosed, ev.TurnFailed)
"""What has already happened in the world: kept in memory until it is durable."""


@attrs.define
class World:
    """Everything outside that one conversation uses.

    Attributes:
        journal: Where its events become durable.
        reopen: Takes the conversation anew, after an append nobody can vouch for.
        model: Where its requests go.
        clock: Time.
        ids: Identity and chance.
        tools: The functions the model may call, by name.
        policy: How transient faults are waited out.
        limits: Bounds on one turn.
    """

    journal: Journal
    reopen: Callable[[], Journal]
    model: Model
    clock: Clock
    ids: Ids
    tools: Mapping[str, Tool]
    policy: RetryPolicy
    limits: Limits


@final
class Driver:
    """One conversation, its machine and its world."""

    def __init__(self, world: World, snapshot: Snapshot, feed: Feed) -> None:
        self.world = world
        self.snapshot = snapshot
        self.feed = feed
        self._unsaved: list[tuple[Snapshot, Event, Step]] = []
        self._scope: anyio.CancelScope | None = None
        self._why = ""
        self._journal_error: JournalError | None = None
        self._in_doubt = False
        self._doubted_from = 0

    # What the machine is told, and what becomes durable.

    def apply(self, event: Event) -> Step:
        """Give the machine an event; its record is saved by the next `flush`.

        Raises:
            IllegalEventError: The event is not legal here; nothing was changed.
        """
        made = step(self.snapshot, event)
        if not made.dropped:
            self._unsaved.append((self.snapshot, event, made))
            self.snapshot = made.snapshot
        return made

    def flush(self) -> None:
        """Make everything since the last flush durable, in one transaction.

        Raises:
            JournalError: What already happened in the world stays in memory and is
                saved by the next flush. What was only about to happen is taken back,
                unless nobody can say whether it was recorded: then the next flush
                takes the conversation anew and looks.
        """
        if self._in_doubt:
            self._look()
        if not self._unsaved:
            return
        journal = self.world.journal
        first = journal.sequence + 1
        try:
            journal.append([event for _, event, _ in self._unsaved])
        except JournalError as error:
            self._in_doubt = error.outcome_unknown
            self._doubted_from = first
            if not error.outcome_unknown:
                self._take_back()
            raise
        self._tell(first)

    def _look(self) -> None:
        """Find out what became of an append that ended in doubt: all of it, or none."""
        self.world.journal.close()
        self.world.journal = self.world.reopen()
        self._in_doubt = False
        if self.world.journal.sequence < self._doubted_from:
            self._take_back()
            return
        announced = [
            e.call for _, e, _ in self._unsaved if isinstance(e, ev.CallStarted)
        ]
        self._tell(self._doubted_from)
        for call in announced:  # recorded as started, and known not to have been
            result = closed_result(call, NEVER_STARTED)
            number = self._turn().number
            self.apply(ev.CallClosed(number, call, Closing.NOT_EXECUTED, result))

    def _tell(self, first: int) -> None:
        """Tell watchers what is durable now."""
        saved, self._unsaved = self._unsaved, []
        for offset, (_, event, made) in enumerate(saved):
            narrate(self.feed, first + offset, event, made, self.world.policy)

    @property
    def unsaved(self) -> int:
        """How many events happened that are not durable yet."""
        return len(self._unsaved)

    def _take_back(self) -> None:
        """Forget what was only about to happen; keep what did."""
        while self._unsaved and not isinstance(self._unsaved[-1][1], _FACTS):
            self.snapshot = self._unsaved.pop()[0]

    # The loop.

    async def run(self, *, stream: bool) -> None:
        """Do what the machine orders until the conversation rests.

        Raises:
            JournalError: The journal failed; see `flush`.
        """
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                while await self._perform(stream=stream):
                    pass
                self.flush()
            except JournalError:
                raise
            except BaseException as error:
                # The fault is kept in memory if it cannot be saved now: what stops the
                # turn must reach the caller, and the next flush saves the rest.
                with contextlib.suppress(JournalError):
                    if isinstance(error, Exception):
                        said = f"{type(error).__name__}: {error}"
                        self.stop(said, FaultKind.LOCAL)
                    else:
                        self.stop(self._why or "the task was cancelled")
                raise
            finally:
                self._scope = None
                self._why = ""

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

    def stop(self, why: str, kind: FaultKind = FaultKind.CANCELLED) -> None:
        """Bring a turn that is going on to rest in `failed`, and save that.

        Synchronous on purpose: it runs while everything around it is being cancelled.
        """
        turn = self.snapshot.turn
        if turn is None or self.snapshot.resting:
            return
        if turn.state == TurnState.FAILED:
            self.apply(ev.RetryCancelled(turn.number, Fault(kind, why)))
        else:
            flying = turn.state in (TurnState.SENT, TurnState.COMPACTING)
            fault = Fault(kind, why, outcome_unknown=flying)
            self.apply(ev.TurnFailed(turn.number, turn.attempt, fault))
        self.flush()

    async def _perform(self, *, stream: bool) -> bool:
        """Perform the next order; False when there is nothing more to do."""
        (command,) = orders(self.snapshot) or (Rest(),)
        match command:
            case Prepare():
                self._prepare(command.purpose)
            case SendRequest():
                self.flush()
                await self._send(command, stream=stream)
            case RunCalls():
                await self._run_calls()
                return not self._awaits_approval()
            case ContinueTurn():
                self.apply(ev.TurnContinued(command.turn))
            case ConsiderRetry():
                return await self._wait(command)
            case Rest():
                return False
        return True

    # Requests.

    def _prepare(self, purpose: Purpose) -> None:
        """Check the next request and announce it, or fail the turn."""
        turn = self._turn()
        fault = self._refused(turn, purpose)
        if fault is not None:
            self.apply(ev.TurnFailed(turn.number, turn.attempt, fault))
        elif purpose is Purpose.COMPACTION:
            self.apply(ev.CompactionSent(turn.number, turn.attempt + 1))
        else:
            self.apply(ev.RequestSent(turn.number, turn.attempt + 1))

    def _refused(self, turn: Turn, purpose: Purpose) -> Fault | None:
        if self._spent(turn):
            allowed = self.world.limits.requests_per_turn_max
            return Fault(
                FaultKind.BUDGET,
                f"the turn has sent its {allowed} requests; retry() grants as many more",
            )
        if purpose is Purpose.COMPACTION:
            return self._not_compactable(turn)
        return staged_fault(self.snapshot)

    def _spent(self, turn: Turn) -> bool:
        """True if the turn has sent what it may before somebody asks for more."""
        return turn.attempt - turn.granted >= self.world.limits.requests_per_turn_max

    def _not_compactable(self, turn: Turn) -> Fault | None:
        if turn.calls:
            return Fault(
                FaultKind.LOCAL,
                "tool results wait to be sent, and a summary must not part them from"
                " their calls: send a message first",
            )
        covered = self.snapshot.base.covers if self.snapshot.base else 0
        if len(self.snapshot.history) == covered:
            return Fault(FaultKind.LOCAL, "nothing was said since the last summary")
        return None

    def request(self, *, stream: bool) -> Request:
        """The request of the current attempt, byte for byte as it is sent."""
        snapshot, turn = self.snapshot, self._turn()
        compacting = turn.state == TurnState.COMPACTING
        purpose = Purpose.COMPACTION if compacting else Purpose.MESSAGE
        limit = self.world.limits.stream_above_tokens
        # What may take long is streamed, so that silence can be told from work.
        stream = stream or compacting or snapshot.profile.max_tokens > limit
        body = build(
            snapshot.profile,
            snapshot.history,
            snapshot.base,
            b"" if compacting else turn.staged,
            purpose=purpose,
            stream=stream,
        )
        names = betas(snapshot.profile, snapshot.base, purpose)
        return Request(turn.number, turn.attempt, purpose, body, names, stream)

    async def _send(self, order: SendRequest, *, stream: bool) -> None:
        def report(delta: Delta) -> None:
            narrate_delta(self.feed, order.turn, order.attempt, delta)

        try:
            reply = await self.world.model.send(self.request(stream=stream), report)
        except RequestFailedError as error:
            self.apply(ev.TurnFailed(order.turn, order.attempt, error.fault))
            return
        self.apply(_verdict(order, reply))

    async def _wait(self, command: ConsiderRetry) -> bool:
        """Wait out a fault if the policy allows it; False to rest in failed."""
        turn = self._turn()
        wait = self.world.policy.wait(
            command.fault, command.failures, self.world.ids.draw()
        )
        if wait is None or self._spent(turn):
            if turn.due is not None:
                self.apply(ev.RetryCancelled(turn.number))
            return False
        due = self.world.clock.now() + wait
        self.apply(ev.RetryScheduled(turn.number, command.failures, wait, due))
        self.flush()
        await self.world.clock.sleep(wait)
        self.apply(ev.TurnRetried(turn.number, asked=False))
        return True

    # Tool calls.

    async def _run_calls(self) -> None:
        """Run every call that may run; each gets exactly one ending."""
        ready: list[Call] = []
        for call in self._turn().open_calls:
            tool = self.world.tools.get(call.use.name)
            ending = unusable(call.use, tool)
            if call.state is CallState.DENIED:
                ending = _denied(call)
            elif ending is None and tool and call.state is CallState.PROPOSED:
                ending, may_run = await self._decide(tool, call)
                if ending is None and not may_run:
                    continue  # a person decides, later
            if ending is not None:
                self._close(call, ending)
            else:
                ready.append(call)
        at_once = self.world.limits.calls_parallel_max
        for call in ready[:at_once]:
            self._start(call)
        self.flush()
        limiter = anyio.CapacityLimiter(at_once)
        async with anyio.create_task_group() as group:
            for index, call in enumerate(ready):
                group.start_soon(self._run_one, call, limiter, index < at_once)
        error, self._journal_error = self._journal_error, None
        if error is not None:
            raise error

    async def _decide(self, tool: Tool, call: Call) -> tuple[Ending | None, bool]:
        """Whether a call may run now: its refusal, or yes, or not yet."""
        if tool.approve is None:
            return None, tool.effect != "ask"
        self.flush()
        use = call.use
        try:
            answer = tool.approve(ToolCall(use.id, use.name, use.input or {}))
            if not isinstance(answer, bool):
                answer = await answer
        except Exception as error:  # noqa: BLE001 - a predicate that fails says no
            answer, why = False, f"the approval itself failed: {error}"
        else:
            why = "the tool's approval said no"
        turn = self._turn().number
        if answer:
            self.apply(ev.CallApproved(turn, use.id))
            return None, True
        self.apply(ev.CallDenied(turn, use.id, why))
        found = self._turn().call(use.id)
        return _denied(found or call), False

    async def _run_one(
        self, call: Call, limiter: anyio.CapacityLimiter, started: bool
    ) -> None:
        async with limiter:
            try:
                if not started:
                    self._start(call)
                    self.flush()
                key = self.call_key(call.use.id)
                tool = self.world.tools[call.use.name]
                self._close(call, await run_tool(tool, call.use, key))
                if self._turn().open_calls:
                    self.flush()  # the last one is saved with what follows it
            except JournalError as error:
                # Raising here would cancel the other calls in the middle of their
                # effects: they end first, then the error is told.
                self._journal_error = error

    def _start(self, call: Call) -> None:
        turn = self._turn().number
        self.apply(ev.CallStarted(turn, call.use.id, self.call_key(call.use.id)))

    def _close(self, call: Call, ending: Ending) -> None:
        turn = self._turn().number
        self.apply(
            ev.CallClosed(
                turn, call.use.id, ending.closing, ending.result, ending.output
            )
        )

    def call_key(self, id_: str) -> str:
        """The idempotency key of a call: the same at every attempt, nowhere else."""
        text = f"{self.world.journal.name}\0{self._turn().number}\0{id_}"
        return sha256(text.encode(errors="replace")).hexdigest()[:32]

    def _awaits_approval(self) -> bool:
        turn = self._turn()
        return turn.state == TurnState.CONFIRMED and any(
            call.state is CallState.PROPOSED for call in turn.open_calls
        )

    def _turn(self) -> Turn:
        turn = self.snapshot.turn
        assert turn is not None, "the driver runs turns only"
        return turn


def _denied(call: Call) -> Ending:
    text = f"Denied: {call.note}" if call.note else "Denied."
    return Ending(Closing.DENIED, closed_result(call.use.id, text))


def _verdict(order: SendRequest, reply: Reply) -> Event:
    """What a whole reply is to the machine: confirmed, or a fault."""
    fault: Fault | None = None
    if order.purpose is Purpose.COMPACTION:
        problem = unusable_summary(reply)
        if problem is None:
            return ev.CompactionConfirmed(order.turn, order.attempt, reply)
        fault = Fault(FaultKind.COMPACTION, problem, request_id=reply.request_id)
    elif outcome(reply) is Outcome.REFUSED:
        fault = Fault(
            FaultKind.REFUSAL, _refusal(reply), request_id=reply.request_id, status=200
        )
    elif len({use.id for use in reply.tool_uses}) < len(reply.tool_uses):
        fault = Fault(
            FaultKind.TRANSIENT,
            "the reply gives one id to two calls, so neither could be answered",
            request_id=reply.request_id,
        )
    if fault is not None:
        return ev.TurnFailed(order.turn, order.attempt, fault)
    return ev.ReplyConfirmed(order.turn, order.attempt, reply)


def _refusal(reply: Reply) -> str:
    told: Any = reply.facts.get("stop_details")
    if isinstance(told, dict):
        details = cast("dict[str, Any]", told)
        said = [str(details[k]) for k in ("category", "explanation") if details.get(k)]
        if said:
            return "the model declined: " + ": ".join(said)
    return "the model declined"
