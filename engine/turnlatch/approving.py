"""Approving and denying calls, and steering a running turn."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import anyio

from turnlatch.call_context import is_inside, working
from turnlatch.content import input_key, user_blocks
from turnlatch.conversation_view import ConversationView
from turnlatch.errors import ApprovalError, InsideTurnError, NotNowError
from turnlatch.options import CALL
from turnlatch.result import Turn
from turnlatch.runtime.loop import Driver
from turnlatch_states.api.checks import optional, plain, text
from turnlatch_states.api.resendable import mended
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.snapshot import Call


def demand_decision(call: object, digest: object) -> None:
    """Check the arguments of a decision about a call.

    Raises:
        SettingsError: The call or the digest is not text.
    """
    CALL.demand("call", call)
    optional(CALL).demand("digest", digest)


def demand_reason(given: object) -> str:
    """The reason of a denial. It is accepted even if it is not valid Unicode.

    Raises:
        SettingsError: It is not text.
    """
    reason = plain(given)
    reason = mended(reason) if isinstance(reason, str) else given
    text().demand("reason", reason)
    return str(reason)


class Approving(ConversationView, ABC):
    """Decisions about calls, and steering; a base of `Conversation`."""

    _lock: anyio.Lock

    @abstractmethod
    async def _drive(self) -> Turn:
        """Run the turn until it rests."""

    @abstractmethod
    def _rested(self, driver: Driver) -> Turn:
        """The resting turn as a value."""

    @contextlib.asynccontextmanager
    async def _alone(self, method: str) -> AsyncGenerator[None]:
        """Hold the conversation's lock; callers enter in order.

        Raises:
            InsideTurnError: The caller runs inside the turn that holds the lock.
        """
        self._demand_outside(method)
        async with self._lock:
            with working(self):
                yield

    def _demand_outside(self, method: str) -> None:
        if is_inside(self):
            raise InsideTurnError(str(self._open_driver().snapshot.state), method)

    async def approve(self, call: str, *, digest: str | None = None) -> Turn:
        """Approve a call that waits, and continue the turn once every call is decided.

        The approval is valid for exactly the call that the question showed, and is
        consumed when that call starts. Sending a message instead closes the call as not
        executed.

        Args:
            call: The call's `id` or `place`; see `Turn.awaiting`. A model may use an id
                again in a later reply; a place is unique.
            digest: `CallReport.digest` of the call that the person looked at. The
                approval is refused if the call has changed since.

        Raises:
            SettingsError: The call or the digest is not text.
            NotNowError: No such call waits; it may have been decided already.
            ApprovalError: The call has changed or its question has expired; nothing ran.
            InsideTurnError: A tool, hook or rule of the turn called this.
        """
        demand_decision(call, digest)
        async with self._alone("approve"):
            return await self._approve(call, digest)

    async def _approve(self, call: str, digest: str | None) -> Turn:
        number, waiting = self._awaiting(call)
        await self._demand_same(waiting, digest)
        yes = ev.CallApproved(number, waiting.use.id, waiting.digest)
        return await self._decide(yes)

    async def deny(self, call: str, reason: str = "the user said no") -> Turn:
        """Deny a call that waits, and continue the turn once every call is decided.

        Args:
            call: The call's `id` or `place`; see `Turn.awaiting`.
            reason: The reason that the model is told.

        Raises:
            SettingsError: The call or the reason is not text.
            NotNowError: No such call waits.
            InsideTurnError: A tool, hook or rule of the turn called this.
        """
        demand_decision(call, None)
        reason = demand_reason(reason)
        async with self._alone("deny"):
            return await self._deny(call, reason)

    async def _deny(self, call: str, reason: str) -> Turn:
        number, waiting = self._awaiting(call)
        return await self._decide(ev.CallDenied(number, waiting.use.id, reason))

    async def steer(
        self, content: str | Sequence[Mapping[str, Any]], *, key: str | None = None
    ) -> bool:
        """Add a message to the running turn; it is durable when this returns.

        The message is sent once, in order, with the next request that can carry it:
        after the results of the running calls, or after the reply. A stopped turn leaves
        it in the queue for the next turn; a turn that the server refuses for good and
        that is abandoned drops it.

        Args:
            content: Text, or content blocks as the API takes them.
            key: Idempotency key: a second message with the same key is ignored.

        Returns:
            True if a turn runs. If not, the next turn begins with the message, and
            `retry()` sends it at once.

        Raises:
            SettingsError: `content` is not user content, or the API refuses it in every
                request.
            ConversationClosedError: The conversation is not open.
            JournalError: The journal failed and the message was not recorded; if
                `outcome_unknown` is true, it may have been: repeat it with the same key.
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
        """The number of the turn in which the call waits, and the call."""
        turn = self._open_driver().snapshot.turn
        waiting = () if turn is None else turn.open_calls
        asked = [one for one in waiting if one.state is CallState.ASKED]
        for one in asked:
            if turn is not None and call in (one.use.id, one.place):
                return turn.number, one
        ids = ", ".join(one.use.id for one in asked)
        raise NotNowError(
            "approve or deny",
            str(self.state),
            f"nothing to decide: no call {call!r} waits for approval",
            f"these wait: {ids}" if ids else "see Turn.awaiting",
            *(one.use.id for one in asked),
        )

    async def _demand_same(self, call: Call, digest: str | None) -> None:
        """Accept an approval only for the call that was shown, until it expires."""
        driver = self._open_driver()
        id_ = call.use.id
        driver.expire()
        await driver.save()
        turn = driver.turn
        found = turn.call(id_)
        if found is None or found.state is not CallState.ASKED:
            raise ApprovalError(
                id_,
                "the time to answer is over, so the call was denied and did not run",
                "retry() tells the model; send() says something else",
            )
        anew = await driver.ask_anew(call)
        if anew or (digest is not None and digest != call.digest):
            await driver.save()
            raise ApprovalError(
                id_,
                "the call has changed since it was shown; nothing ran",
                "look at Turn.awaiting again, then approve() or deny()",
            )

    async def _decide(self, event: ev.CallApproved | ev.CallDenied) -> Turn:
        driver = self._open_driver()
        await driver.note(lambda: event)
        if any(c.state is CallState.ASKED for c in driver.turn.open_calls):
            return self._rested(driver)
        return await self._drive()
