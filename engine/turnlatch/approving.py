"""What people decide about calls, and what they say while a turn runs."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import anyio

from turnlatch.call_context import is_inside, working
from turnlatch.content import input_key, user_blocks
from turnlatch.errors import ApprovalError, InsideTurnError
from turnlatch.options import CALL
from turnlatch.result import Turn
from turnlatch.runtime.loop import Driver
from turnlatch.standing import Standing
from turnlatch_states.api.checks import optional, plain, text
from turnlatch_states.api.resendable import mended
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.snapshot import Call


class Approving(Standing, ABC):
    """What a person has a say in; a base of `Conversation`."""

    _lock: anyio.Lock

    @abstractmethod
    async def _drive(self) -> Turn:
        """Run the turn until it rests."""

    @abstractmethod
    def _rested(self, driver: Driver) -> Turn:
        """The turn as it rests now."""

    @contextlib.asynccontextmanager
    async def _alone(self, method: str) -> AsyncGenerator[None]:
        """Have the conversation to oneself: whoever came before is waited for.

        Raises:
            InsideTurnError: That would be to wait for oneself.
        """
        self._demand_outside(method)
        async with self._lock:
            with working(self):
                yield

    def _demand_outside(self, method: str) -> None:
        if is_inside(self):
            raise InsideTurnError(str(self._open_driver().snapshot.state), method)

    async def approve(self, call: str, *, digest: str | None = None) -> Turn:
        """Say yes to a call that waits, and go on once every call is decided.

        The yes is for exactly the call that the question was about, and is used up when
        it starts. A message that is sent instead closes the call as not executed.

        Args:
            call: Its `id` or its `place`; see `Turn.awaiting`. A model may use an id
                again in a later reply, and never a place.
            digest: What was looked at (`CallReport.digest`), if the call may have
                changed since: an answer to another question does not count.

        Raises:
            SettingsError: The call or the digest is no text.
            IllegalEventError: No such call waits; it may have been decided already.
            ApprovalError: The question was another one, or is over; nothing ran.
            InsideTurnError: It was called by a tool, a hook or a rule of the turn.
        """
        CALL.demand("call", call)
        optional(CALL).demand("digest", digest)
        async with self._alone("approve"):
            number, waiting = self._awaiting(call)
            await self._demand_same(waiting, digest)
            yes = ev.CallApproved(number, waiting.use.id, waiting.digest)
            return await self._decide(yes)

    async def deny(self, call: str, reason: str = "the user said no") -> Turn:
        """Say no to a call that waits, and go on once every call is decided.

        Args:
            call: Its `id` or its `place`; see `Turn.awaiting`.
            reason: What the model is told.

        Raises:
            SettingsError: The call or the reason is no text.
            IllegalEventError: No such call waits.
            InsideTurnError: It was called by a tool, a hook or a rule of the turn.
        """
        CALL.demand("call", call)
        given: object = plain(reason)
        # Whatever stands in it, a no is taken.
        reason = mended(given) if isinstance(given, str) else reason
        text().demand("reason", reason)
        async with self._alone("deny"):
            number, waiting = self._awaiting(call)
            no = ev.CallDenied(number, waiting.use.id, reason)
            return await self._decide(no)

    async def steer(
        self, content: str | Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> bool:
        """Say something into the turn that runs; it is durable when this returns.

        It is said once, in order, with the next request that may say it: behind the
        results of the calls that run, or once the reply is there. A turn that is stopped
        keeps it for the next one; one that the server refuses for good takes it along
        when it is given up.

        Args:
            content: Text, or content blocks as the API takes them.
            key: Idempotency key: what was said with the same key before is not said
                again.

        Returns:
            True if a turn runs; if none does, the next one begins with it, and `retry()`
            sends it at once.

        Raises:
            SettingsError: `content` is no user content, or the API refuses it wherever
                it is said.
            ConversationClosedError: The conversation is not open.
            JournalError: The journal failed; nothing was said, unless that is in doubt
                (`outcome_unknown`): with the same key it can be said again.
        """
        driver = self._open_driver()
        blocks = user_blocks(content, driver.snapshot.profile)
        key = input_key(key)

        def said() -> ev.Steered | None:
            if key is not None and key in driver.said:
                return None
            return ev.Steered(driver.snapshot.turns, blocks, key)

        await driver.note(said)
        return driver.running

    def _awaiting(self, call: str) -> tuple[int, Call]:
        """The turn in which that call waits for an answer, and the call."""
        turn = self._open_driver().snapshot.turn
        waiting = () if turn is None else turn.open_calls
        asked = [one for one in waiting if one.state is CallState.ASKED]
        for one in asked:
            if turn is not None and call in (one.use.id, one.place):
                return turn.number, one
        legal = tuple(one.use.id for one in asked)
        raise IllegalEventError("call", "none", f"decide about {call}", legal)

    async def _demand_same(self, call: Call, digest: str | None) -> None:
        """Let a yes count only for the question that was asked, while it is asked."""
        driver = self._open_driver()
        id_ = call.use.id
        driver.expire()
        await driver.save()
        turn = driver.turn
        found = turn.call(id_)
        if found is None or found.state is not CallState.ASKED:
            raise ApprovalError(
                id_,
                "the time to answer is over; it was denied, and nothing ran",
                "retry() tells the model so, send() says something else",
            )
        anew = await driver.ask_anew(call)
        if anew or (digest is not None and digest != call.digest):
            await driver.save()
            raise ApprovalError(
                id_,
                "it is not the call any more that was looked at; nothing ran",
                "look at Turn.awaiting again, then approve() or deny()",
            )

    async def _decide(self, event: ev.CallApproved | ev.CallDenied) -> Turn:
        driver = self._open_driver()
        await driver.note(lambda: event)
        if any(c.state is CallState.ASKED for c in driver.turn.open_calls):
            return self._rested(driver)
        return await self._drive()
