"""The driver: performs what the machine orders, and reports back what happened.

Rules of this file:

* The machine decides; the driver builds, sends, runs, waits, and tells it how that
  ended. It changes no state by itself.
* Nothing is awaited while an event is unsaved: `save` comes before every `await`, and
  between a reply and its record there is no `await` at all. The one thing that is waited
  for is the lock that another process has on the store: until it is gone nothing that is
  about to happen is done, and nothing that happened is forgotten.
* Whatever interrupts it, the turn ends in a declared state and every call it started
  has an ending.
"""

import contextlib
from typing import final

import anyio

from turnlatch.errors import JournalError, words
from turnlatch.runtime.environment import World
from turnlatch.runtime.record import Record
from turnlatch.runtime.recovery import Recovery
from turnlatch.runtime.requests import Sender
from turnlatch.runtime.tool_calls import Caller
from turnlatch.watching.event_log import Feed
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.commands import (
    ConsiderRetry,
    ContinueTurn,
    Prepare,
    Rest,
    RunCalls,
    SendRequest,
)
from turnlatch_states.machine.snapshot import Call, Snapshot
from turnlatch_states.machine.step import orders
from turnlatch_states.request.build import Request


@final
class Driver(Record):
    """One conversation, its machine and its world."""

    def __init__(self, world: World, snapshot: Snapshot, feed: Feed) -> None:
        super().__init__(world, snapshot, feed)
        self._scope: anyio.CancelScope | None = None
        self._why = ""
        self._sender = Sender(self)
        self._recovery = Recovery(self, self._sender)
        self._caller = Caller(self)

    def granted(self) -> None:
        """Somebody asked for the turn, or asked again: it has all its time from here."""
        self._sender.grant()

    # The loop.

    async def run(self, *, stream: bool) -> None:
        """Do what the machine orders until the conversation rests.

        Raises:
            JournalError: The journal failed; see `flush`.
        """
        with anyio.CancelScope() as scope, self._sender.timed():
            try:
                self._scope = scope
                self.expire()
                while await self._perform(stream=stream):
                    pass
                await self.save()
            except JournalError:
                raise
            except BaseException as error:
                # The fault is kept in memory if it cannot be saved now: what stops the
                # turn must reach the caller, and the next flush saves the rest.
                with contextlib.suppress(JournalError):
                    if isinstance(error, Exception):
                        said = f"{type(error).__name__}: {words(error)}"
                        self.stop(said, FaultKind.LOCAL)
                    else:
                        self.stop(self._why or "the task was cancelled")
                raise
            finally:
                self._scope = None
                self._why = ""
        with contextlib.suppress(JournalError):  # of a turn that was stopped meanwhile
            await self.save()

    @property
    def seconds(self) -> float:
        """How long the turn was at work since somebody asked for it."""
        return self._sender.seconds

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

    async def _perform(self, *, stream: bool) -> bool:
        """Perform the next order; False when there is nothing more to do."""
        (command,) = orders(self.snapshot) or (Rest(),)
        match command:
            case Prepare():
                await self._sender.prepare(command.purpose)
            case SendRequest():
                await self.save()
                await self._sender.send(command, stream=stream)
            case RunCalls():
                await self._caller.run()
            case ContinueTurn():
                self.apply(ev.TurnContinued(command.turn, command.results_only))
            case ConsiderRetry():
                return await self._recovery.consider(stream=stream)
            case Rest():
                return False
        return True

    def expire(self) -> None:
        """Say no to the questions that nobody answered in time."""
        self._caller.expire()

    async def ask_anew(self, call: Call) -> bool:
        """Put a question anew that is not the one any more that was put; True if so."""
        return await self._caller.ask_anew(call)

    async def settle(self) -> str:
        """Find out how the calls ended whose end was not seen, as far as can be; why
        that was interrupted, if it was."""
        self._scope = anyio.CancelScope()
        with self._scope as scope:
            try:
                await self._caller.settle()
            finally:
                self._scope = None
                with contextlib.suppress(JournalError):  # kept for the next flush
                    self.flush()
        why, self._why = self._why, ""
        return why if scope.cancelled_caught else ""

    def request(self, *, stream: bool) -> Request:
        """The request of the current attempt, byte for byte as it is sent."""
        return self._sender.request(stream=stream)
