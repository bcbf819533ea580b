"""The readable side of a conversation: its state, history and settings, as values."""

import json
from typing import TYPE_CHECKING, Any, get_args

import attrs

from turnlatch.errors import ConversationClosedError, NotNowError
from turnlatch.result import Turn
from turnlatch.rulebook import Rulebook
from turnlatch.runtime.endpoint import Endpoint
from turnlatch.runtime.loop import Driver
from turnlatch.runtime.preflight import findings
from turnlatch.urls import HoldsClient
from turnlatch.watching.event_log import EventLog
from turnlatch.watching.events import CURSOR, Cursor
from turnlatch.watching.stream import Watch
from turnlatch_states.api.checks import one_of
from turnlatch_states.api.reply import Usage
from turnlatch_states.api.rules import Finding
from turnlatch_states.machine.snapshot import Lost, Snapshot
from turnlatch_states.machine.turn import TURN, Substate, TurnState
from turnlatch_states.recovery.cache_guard import PrefixChange, prefix_change
from turnlatch_states.request.history import History
from turnlatch_states.request.profile import Profile

if TYPE_CHECKING:
    from turnlatch.diagrams import Format


def result_of(driver: Driver) -> Turn | None:
    """The current turn as a value, or the last one; None before the first."""
    turn = Turn.current(driver.snapshot)
    price = driver.world.limits.price
    return turn and attrs.evolve(turn, output=driver.output, price=price)


class ConversationView(HoldsClient):
    """The properties and queries of a conversation; a base of `Conversation`."""

    _name: str
    _driver: Driver | None
    _endpoint: Endpoint | None
    _feed: EventLog

    @property
    def name(self) -> str:
        """The conversation's name in the store."""
        return self._name

    @property
    def state(self) -> TurnState | None:
        """The state of the current turn, or of the last one; None before the first."""
        state = self._open_driver().snapshot.state
        return None if state is None else TurnState(state)

    @property
    def substate(self) -> Substate:
        """Where exactly the turn stands: what `confirmed` or `failed` is made of.

        `new` before the first turn; `probing` from the first question to the server on.
        """
        return self._open_driver().substate

    @property
    def turn(self) -> Turn | None:
        """The current turn, or the last one; None before the first."""
        turn = result_of(self._open_driver())
        return turn and attrs.evolve(turn, substate=self.substate)

    @property
    def history(self) -> History:
        """The confirmed exchanges, summarised ones included."""
        return self._open_driver().snapshot.history

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The history as a messages array. Each access returns a new copy."""
        found: list[dict[str, Any]] = []
        for wire in self.history.wires():
            found += json.loads(b"[" + wire + b"]")
        return found

    @property
    def usage(self) -> Usage:
        """Usage of all confirmed replies, compactions included."""
        return self._open_driver().snapshot.usage

    @property
    def profile(self) -> Profile:
        """The conversation's settings; one turn may have others (see `send`)."""
        return self._open_driver().snapshot.lasting

    @property
    def snapshot(self) -> Snapshot:
        """The whole state of the conversation, as one value."""
        return self._open_driver().snapshot

    @property
    def live(self) -> bool:
        """False if this conversation was opened with `client="simulator"`."""
        return self._endpoint is not None and self._endpoint.live

    @property
    def simulated(self) -> bool:
        """True if the record has a reply that a simulator invented, here or elsewhere.
        `rewind()` does not change that."""
        return self._open_driver().snapshot.simulated

    @property
    def endpoint(self) -> str:
        """The destination of requests, in words."""
        return "" if self._endpoint is None else self._endpoint.label

    @property
    def unsaved(self) -> int:
        """Number of events that happened and are not in the journal yet."""
        return self._open_driver().unsaved

    @property
    def cursor(self) -> Cursor:
        """The cursor of the newest stream event."""
        return self._feed.cursor

    @property
    def lost(self) -> Lost:
        """Replies that were paid for and are not in the history: either they never arrived,
        or they answered only a part of the conversation."""
        return self._open_driver().snapshot.lost

    @property
    def pins(self) -> dict[str, str]:
        """The pinned texts by name; each summary is sent with them."""
        return dict(self._open_driver().snapshot.pins)

    @property
    def prefix_change(self) -> PrefixChange | None:
        """The part of the cached prompt prefix that the next request changes; None if it
        changes nothing."""
        return prefix_change(self._upcoming)

    def watch(self, after: Cursor | None = None) -> Watch:
        """All stream events after a cursor: `async for event in chat.watch(cursor)`.

        Events that are no longer in memory are read from the journal, with the same
        cursors. From there a confirmed reply comes in whole pieces (`Arrived.whole`),
        and pieces of a failed attempt do not come at all. The loop ends when the
        conversation is closed. Leaving the loop stops nothing.

        Args:
            after: The cursor of the last event seen; `Cursor()` for everything since
                the conversation was made; None for events from now on.

        Raises:
            SettingsError: `after` is not a cursor.
            ConversationClosedError: The conversation is not open.
            JournalError: The journal cannot be read.
        """
        CURSOR.demand("after", after)
        world = self._open_driver().world
        return Watch(self._feed, world.journal, after)

    def check(self) -> tuple[Finding, ...]:
        """The findings of the API's rules about the next request.

        The rules are those for its base URL and `anthropic-version`; see the option
        `settings` of `open`.
        """
        return findings(self._upcoming, self._rules)

    @property
    def _rules(self) -> Rulebook:
        return Rulebook() if self._endpoint is None else self._endpoint.rules

    def diagram(self, format: "Format" = "text") -> str:
        """A drawing of the turn machine that marks the rows this turn took.

        Args:
            format: "text", "mermaid", "dot" or "svg".

        Raises:
            SettingsError: The format is unknown.
        """
        from turnlatch.diagrams import Format, render

        one_of(get_args(Format)).demand("format", format)
        turn = self._open_driver().snapshot.turn
        if turn is None:
            return render(TURN, format)
        return render(TURN, format, path=turn.path, current=turn.state)

    @property
    def _upcoming(self) -> Snapshot:
        """The conversation with the settings of its next request."""
        snapshot = self._open_driver().snapshot
        over = snapshot.substate in (Substate.DONE, Substate.ABANDONED)
        if snapshot.usual is None or not over:
            return snapshot
        return attrs.evolve(snapshot, profile=snapshot.usual, usual=None)

    def _demand_nothing_owed(self) -> None:
        """Refuse to compact while a call awaits a decision or a message is unanswered."""
        snapshot = self._open_driver().snapshot
        turn = snapshot.turn
        if turn is None or turn.abandoned:
            return
        state = str(turn.state)
        if not snapshot.resting:
            problem = (
                f"cannot compact: a call of turn {turn.number} waits for a decision"
            )
            remedy = "approve(), deny(), or send() something else"
            raise NotNowError(
                "compact", state, problem, remedy, "approve", "deny", "send"
            )
        if turn.state == TurnState.FAILED and turn.content:
            problem = (
                f"cannot compact: the message of turn {turn.number} is not answered"
            )
            remedy = "retry(), abandon(), or send() something else"
            raise NotNowError(
                "compact", state, problem, remedy, "retry", "abandon", "send"
            )

    def _open_driver(self) -> Driver:
        if self._driver is None:
            raise ConversationClosedError(self._name)
        return self._driver
