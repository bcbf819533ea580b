"""The turns of a conversation: sent, streamed, continued and ended."""

from abc import ABC
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Unpack, final, overload

import attrs

from turnlatch.approving import demand_decision, demand_reason
from turnlatch.configuring import Configuring
from turnlatch.content import input_key, user_blocks
from turnlatch.conversation_view import result_of
from turnlatch.errors import NotNowError, SettingsError
from turnlatch.logs import log_turn
from turnlatch.options import TurnSettings, demand_options
from turnlatch.output import Output, T, demand_same_output, output_of
from turnlatch.result import Turn
from turnlatch.runtime.loop import Driver
from turnlatch.runtime.opening import turn_profile
from turnlatch.watching.events import TurnEnded
from turnlatch.watching.from_journal import at_rest
from turnlatch.watching.stream import TurnStream, Work
from turnlatch_states.api.checks import flag
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Snapshot, unheard
from turnlatch_states.machine.steering import asked_again
from turnlatch_states.machine.turn import Substate, TurnState
from turnlatch_states.request.profile import Purpose

_FLAG: Final = flag()


@final
@attrs.frozen
class _Message:
    """The arguments of `send`, checked.

    Attributes:
        blocks: The content; empty to compact.
        key: The idempotency key.
        output: The output asked for.
        own: The settings of the turn.
    """

    blocks: bytes
    key: str | None = None
    output: Output[Any] | None = None
    own: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


class Sending(Configuring, ABC):
    """The turns of an open conversation; a base of `Conversation`."""

    _keys: dict[str, int]
    _streams: bool

    @overload
    async def send(
        self,
        content: str | Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
        output: None = None,
        raise_on_failure: bool = False,
        **own: Unpack[TurnSettings],
    ) -> Turn[None]: ...

    @overload
    async def send(
        self,
        content: str | Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
        output: type[T],
        raise_on_failure: bool = False,
        **own: Unpack[TurnSettings],
    ) -> Turn[T]: ...

    @overload
    async def send(
        self,
        content: str | Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
        output: object,
        raise_on_failure: bool = False,
        **own: Unpack[TurnSettings],
    ) -> Turn[Any]: ...

    async def send(
        self,
        content: str | Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
        output: object = None,
        raise_on_failure: bool = False,
        **own: Unpack[TurnSettings],
    ) -> Turn[Any]:
        """Send a message, and run the turn until it rests.

        Returns the turn as a value, confirmed or failed. A failed turn does not raise,
        because it is not over: `retry()` continues it. Sending abandons it: its text is
        dropped, its tool results are kept. A call that waits for approval is closed as
        not executed.

        Args:
            content: Text, or content blocks as the API takes them.
            key: Idempotency key: the same key again returns the same turn, with the
                settings it began with, and retries it if it failed.
            output: A type that pydantic reads from JSON. The model is asked for it with
                `output_config.format`, and `Turn.output` is the answer as a value. A
                reply that does not fit is followed by a request that says why, up to
                `Limits.outputs_max` replies. After a restart, send the same content
                with the same key and output before another method continues the turn.
            raise_on_failure: Raise `TurnFailedError` for a failed turn.
            own: Settings of this turn alone; see `TurnSettings`.

        Raises:
            SettingsError: `content` is not user content, a setting is refused, or the
                API refuses the content in every request.
            TurnFailedError: The turn failed, and `raise_on_failure` is true.
            InsideTurnError: A tool, hook or rule of this conversation called this; use
                `steer()` there.
            ConversationClosedError: The conversation is not open.
            JournalError: The journal failed; everything that happened is kept in memory.
        """
        message = self._message(content, key, output, own)
        _FLAG.demand("raise_on_failure", raise_on_failure)
        async with self._alone("send"):
            self._streams = False
            turn = await self._submit(message)
        return turn.raise_for_failure() if raise_on_failure else turn

    def stream(
        self,
        content: str | Sequence[Mapping[str, Any]],
        *,
        key: str | None = None,
        output: object = None,
        **own: Unpack[TurnSettings],
    ) -> TurnStream:
        """Send a message, and watch the turn: `async for event in chat.stream(...)`.

        Nothing is sent before iteration starts. The turn belongs to the conversation, not
        to the stream: leaving the loop leaves it running, `interrupt()` stops it.
        Leaving an `async with` block stops this turn only; a message that still waits
        for another turn is withdrawn. `await stream.turn()` returns the turn.

        Arguments and errors are those of `send`. Errors in the arguments are raised
        here, the others during iteration.
        """
        message = self._message(content, key, output, own)
        return self._streamed(
            "stream",
            lambda: self._submit(message),
            lambda: Turn.withdrawn(self.snapshot, message.blocks),
        )

    def stream_retry(self) -> TurnStream:
        """`retry()`, watched: the stream has the events from there on.

        A stream that is left before its turn goes on changes nothing. Arguments and
        errors are those of `retry`; errors are raised during iteration.
        """
        return self._streamed("retry", self._retry, partial(self._unchanged, "retry"))

    def stream_approve(self, call: str, *, digest: str | None = None) -> TurnStream:
        """`approve()`, watched: the stream has the events from the approval on.

        A stream that is left before its turn goes on approves nothing. Arguments and
        errors are those of `approve`. Errors in the arguments are raised here, the
        others during iteration.
        """
        demand_decision(call, digest)
        approve = partial(self._approve, call, digest)
        unchanged = partial(self._unchanged, "approve")
        return self._streamed("approve", approve, unchanged)

    def stream_deny(self, call: str, reason: str = "the user said no") -> TurnStream:
        """`deny()`, watched: the stream has the events from the denial on.

        A stream that is left before its turn goes on denies nothing. Arguments and
        errors are those of `deny`. Errors in the arguments are raised here, the others
        during iteration.
        """
        demand_decision(call, None)
        deny = partial(self._deny, call, demand_reason(reason))
        return self._streamed("deny", deny, partial(self._unchanged, "deny"))

    def _streamed(
        self,
        method: str,
        work: Callable[[], Awaitable[Turn]],
        withdrawn: Callable[[], Turn],
    ) -> TurnStream:
        """A stream whose turn is what `work` runs."""
        self._demand_outside(method)

        async def submit() -> Turn:
            self._streams = True
            return await work()

        def interrupt() -> bool:
            driver = self._driver
            return driver is not None and driver.interrupt("the stream was left")

        alone = partial(self._alone, method)
        return TurnStream(Work(self._feed, alone, submit, interrupt, withdrawn))

    def _unchanged(self, method: str) -> Turn:
        """The turn as it stands, for a stream that was left before it began.

        Raises:
            NotNowError: No turn has begun.
        """
        turn = self.turn
        if turn is None:
            raise _nothing_began(method)
        return turn

    async def retry(self) -> Turn:
        """Continue the turn that stopped: its input is still staged.

        Raises:
            NotNowError: No turn has failed, and no steered message waits.
        """
        async with self._alone("retry"):
            return await self._retry()

    async def _retry(self) -> Turn:
        driver = self._open_driver()
        await driver.save()
        turn = driver.snapshot.turn
        if turn is None:
            raise _nothing_began("retry")
        if turn.state == TurnState.FAILED:
            driver.apply(asked_again(driver.snapshot, turn.number))
        elif driver.snapshot.resting and not unheard(driver.snapshot):
            raise NotNowError(
                "retry",
                str(turn.state),
                f"nothing to retry: turn {turn.number} is done",
                "send() something new",
                "send",
            )
        return await self._drive()

    async def abandon(self) -> None:
        """Abandon the failed turn: its text is dropped, its tool results are kept.

        Raises:
            IllegalEventError: The turn has not failed.
        """
        async with self._alone("abandon"):
            driver = self._open_driver()
            await driver.save()
            turn = driver.snapshot.turn
            if turn is None:
                raise _nothing_began("abandon")
            if not driver.snapshot.resting:
                await driver.halt("the turn was abandoned")
            await driver.note(lambda: ev.TurnAbandoned(turn.number))

    async def interrupt(self) -> bool:
        """Stop the running turn, in any state; True if a turn was running.

        Finished work is kept, open calls are closed with their true outcome, and the
        input stays staged. `send` and `stream` return the turn as `failed`.
        """
        return self._open_driver().interrupt("the turn was interrupted")

    async def compact(self) -> Turn:
        """Replace the context with the server's summary of it, in a separate turn.

        The old context stays in force until a whole, signed summary is confirmed; a
        failed compaction changes nothing. The old history stays readable either way.

        Raises:
            NotNowError: A call waits for approval, or a message is unanswered.
            ConversationClosedError, JournalError: As for `send`.
        """
        async with self._alone("compact"):
            self._demand_nothing_owed()
            return await self._submit(_Message(b""))

    def _message(
        self,
        content: object,
        key: object,
        output: object,
        own: Mapping[str, Any],
    ) -> _Message:
        """The caller's arguments, checked.

        Raises:
            SettingsError: One is refused.
        """
        blocks, key = user_blocks(content, self.profile), input_key(key)
        if not own and output is None:
            return _Message(blocks, key)
        unknown = [name for name in own if name not in TurnSettings.__annotations__]
        if unknown:
            raise SettingsError(
                unknown[0],
                "it is not a setting of one turn",
                f"give one of {', '.join(TurnSettings.__annotations__)}, or use"
                " configure()",
            )
        given = demand_options({n: v for n, v in own.items() if v is not None})
        return _Message(blocks, key, output_of(output), given)

    async def _submit(self, message: _Message) -> Turn:
        """Open a turn and run it, unless a turn with the same key ran already."""
        driver, key = self._open_driver(), message.key
        await driver.save()
        snapshot = driver.snapshot
        last = snapshot.turn
        if key is not None:
            if last is not None and last.key == key and not _given_up(snapshot):
                if message.output is not None:
                    if last.substate != Substate.DONE:
                        demand_same_output(snapshot.profile, message.output)
                    driver.output = message.output
                if last.substate == Substate.DONE:
                    return self._rested(driver)
                if last.state == TurnState.FAILED:
                    driver.apply(asked_again(snapshot, last.number))
                return await self._drive()
            if snapshot.history.of_turn(self._keys.get(key, 0)):
                turn = Turn.confirmed(snapshot, self._keys[key])
                price = driver.world.limits.price
                return self._ended(
                    attrs.evolve(turn, output=message.output, price=price)
                )
        profile = None
        if message.own or message.output is not None:
            profile = turn_profile(
                self._options, snapshot.lasting, message.own, message.output
            )
        stopped = ""
        if not snapshot.resting:
            stopped = await driver.settle()
            await driver.halt("another message came first")
        number = driver.snapshot.turns + 1
        purpose = Purpose.MESSAGE if message.blocks else Purpose.COMPACTION
        driver.output = message.output
        driver.apply(ev.TurnOpened(number, message.blocks, key, purpose, profile))
        self._name_turn(number, key)
        if stopped:
            await driver.halt(stopped)
            return self._rested(driver)
        return await self._drive()

    def _name_turn(self, number: int, key: str | None) -> None:
        """Remember which turn a key opened.

        If the journal refused a turn, its number is used again; then the newest key,
        which named that turn, is forgotten.
        """
        newest = next(reversed(self._keys), None)
        if newest is not None and self._keys[newest] == number:
            del self._keys[newest]
        if key is not None:
            self._keys.pop(key, None)  # inserted again, it is the newest
            self._keys[key] = number

    async def _drive(self) -> Turn:
        driver = self._open_driver()
        try:
            await driver.run(stream=self._streams)
        except BaseException:
            # Publish the end of the turn to watchers, even if the task was cancelled.
            if at_rest(driver.snapshot) and not driver.unsaved:
                log_turn(self._name, self._rested(driver), driver.seconds)
            raise
        turn = self._rested(driver)
        log_turn(self._name, turn, driver.seconds)
        return turn

    def _rested(self, driver: Driver) -> Turn:
        turn = result_of(driver)
        assert turn is not None, "a turn was just run"
        return self._ended(turn)

    def _ended(self, turn: Turn) -> Turn:
        self._feed.publish(TurnEnded(self._feed.next(), turn))
        return turn


def _nothing_began(method: str) -> NotNowError:
    return NotNowError(
        method,
        "none",
        f"nothing to {method}: no turn has begun",
        "send() something first",
        "send",
    )


def _given_up(snapshot: Snapshot) -> bool:
    """True if the last turn was abandoned, or rewound: its key may open a turn again."""
    if snapshot.substate == Substate.DONE:
        return not snapshot.history.of_turn(snapshot.turns)
    return snapshot.substate == Substate.ABANDONED
