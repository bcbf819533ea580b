"""After a failure: waiting, asking, searching, suspending, as the ladder says.

What is decided is decided by the core (`decide`); this file does it, and reports.
"""

from typing import final

from turnlatch.logs import doing, log_fault
from turnlatch.runtime.probes import Trials
from turnlatch.runtime.record import Record
from turnlatch.runtime.requests import Sender
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Turn
from turnlatch_states.recovery.decide import decide
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    Compact,
    PingServer,
    Stop,
    Suspend,
    WaitThenRetry,
)


@final
class Recovery:
    """What follows the failures of one conversation."""

    def __init__(self, record: Record, sender: Sender) -> None:
        self._record = record
        self._sender = sender
        self._trials = Trials(record, sender)

    async def consider(self, *, stream: bool) -> bool:
        """Do what the ladder of the fault says; False to rest in failed."""
        record, turn = self._record, self._record.turn
        spent = self._sender.budget.spent(turn, self._sender.seconds)
        decision = decide(
            record.snapshot, record.world.policies, record.world.ids.draw()
        )
        if spent is not None:
            decision = Stop()
        if turn.fault is not None:
            name = record.world.journal.name
            log_fault(name, turn.number, turn.attempt, turn.fault, doing(decision))
        match decision:
            case WaitThenRetry():
                return await self._wait(turn, decision.seconds)
            case ChangeRequest():
                return await self._go_on(decision)
            case Compact():
                await self._sender.compact(decision, asked=False)
                return True
            case PingServer():
                return await self._ask(decision.seconds, stream=stream)
            case BisectHistory():
                return await self._search(stream=stream)
            case Suspend():
                if decision.fault is not None:
                    record.apply(ev.RetryCancelled(turn.number, decision.fault))
                    turn = record.turn
                now = record.world.clock.now()
                until = None if decision.seconds is None else now + decision.seconds
                if turn.suspended is None:
                    record.apply(ev.TurnSuspended(turn.number, decision.why, until))
                return self._rest(turn)
            case Stop():
                return self._rest(turn)

    def _rest(self, turn: Turn) -> bool:
        if turn.due is not None or turn.ready:
            self._record.apply(ev.RetryCancelled(turn.number))
        return False

    async def _wait(self, turn: Turn, seconds: float) -> bool:
        if not await self._sender.wait(seconds):
            return self._rest(turn)
        self._record.apply(ev.TurnRetried(turn.number, asked=False))
        return True

    async def _go_on(self, made: ChangeRequest) -> bool:
        """Go on with a remedy, once the wait before it is over."""
        turn = self._record.turn
        if made.seconds and not await self._sender.wait(made.seconds):
            return self._rest(turn)
        self._sender.go_on(made)
        return True

    async def _ask(self, seconds: float, *, stream: bool) -> bool:
        """Ask something short: does the server answer anybody at all?"""
        if seconds and not await self._sender.wait(seconds):
            return self._rest(self._record.turn)
        await self._trials.small(stream=stream)
        return True

    async def _search(self, *, stream: bool) -> bool:
        """Find the part that is refused, and propose to leave it out."""
        found = await self._trials.search(stream=stream)
        if found is None:
            return self._rest(self._record.turn)
        return await self._go_on(found)
