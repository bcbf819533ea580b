"""Where a conversation stands: what can be read of it at any time, as values."""

import json
from typing import TYPE_CHECKING, Any, get_args

from turnlatch.errors import ConversationClosedError
from turnlatch.result import Turn
from turnlatch.rulebook import Rulebook
from turnlatch.runtime.endpoint import Endpoint
from turnlatch.runtime.loop import Driver
from turnlatch.runtime.preflight import findings
from turnlatch.urls import HoldsClient
from turnlatch.watching.event_log import Feed
from turnlatch.watching.events import CURSOR, Cursor
from turnlatch.watching.stream import Watch
from turnlatch_states.api.checks import one_of
from turnlatch_states.api.reply import Usage
from turnlatch_states.api.rules import Finding
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine.snapshot import Lost, Snapshot
from turnlatch_states.machine.turn import TURN, TurnState
from turnlatch_states.recovery.cache_guard import PrefixChange, prefix_change
from turnlatch_states.request.history import History
from turnlatch_states.request.profile import Profile

if TYPE_CHECKING:
    from turnlatch.diagrams import Format


class Standing(HoldsClient):
    """What can be read of a conversation; the base of `Conversation`."""

    _name: str
    _driver: Driver | None
    _endpoint: Endpoint | None
    _feed: Feed

    @property
    def name(self) -> str:
        """Its name in the store."""
        return self._name

    @property
    def state(self) -> TurnState | None:
        """The state of the current turn, or of the last one; None before the first."""
        state = self._open_driver().snapshot.state
        return None if state is None else TurnState(state)

    @property
    def turn(self) -> Turn | None:
        """The current turn, or the last one; None before the first."""
        return Turn.current(self._open_driver().snapshot)

    @property
    def history(self) -> History:
        """What was confirmed, sealed; summarised exchanges included."""
        return self._open_driver().snapshot.history

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The history as a messages array, parsed anew; changing it changes nothing."""
        found: list[dict[str, Any]] = []
        for wire in self.history.wires():
            found += json.loads(b"[" + wire + b"]")
        return found

    @property
    def usage(self) -> Usage:
        """What everything confirmed has cost, compactions included."""
        return self._open_driver().snapshot.usage

    @property
    def profile(self) -> Profile:
        """The settings in force."""
        return self._open_driver().snapshot.profile

    @property
    def snapshot(self) -> Snapshot:
        """Everything the machine knows of this conversation, as one value."""
        return self._open_driver().snapshot

    @property
    def live(self) -> bool:
        """False if the simulator was asked for: the answers are made up."""
        return self._endpoint is not None and self._endpoint.live

    @property
    def simulated(self) -> bool:
        """True if an answer in the record was made up by the simulator, wherever it ran;
        it stays so, whatever is rewound."""
        return self._open_driver().snapshot.simulated

    @property
    def endpoint(self) -> str:
        """Where requests go, in words."""
        return "" if self._endpoint is None else self._endpoint.label

    @property
    def unsaved(self) -> int:
        """How many events happened that the journal could not take yet."""
        return self._open_driver().unsaved

    @property
    def cursor(self) -> Cursor:
        """Where the happenings stand now."""
        return self._feed.cursor

    @property
    def lost(self) -> Lost:
        """Replies that were paid for and are no part of the history: nobody here ever saw
        them, or they answered a part of the conversation only."""
        return self._open_driver().snapshot.lost

    @property
    def pins(self) -> dict[str, str]:
        """The texts that go along with every summary, by name."""
        return dict(self._open_driver().snapshot.pins)

    @property
    def prefix_change(self) -> PrefixChange | None:
        """What the next request would change of what the prompt cache holds."""
        return prefix_change(self._open_driver().snapshot)

    def watch(self, after: Cursor | None = None) -> Watch:
        """Everything that happens after a cursor: `async for h in chat.watch(cursor)`.

        What is no longer in memory is told again from the journal, with the same
        cursors. There a confirmed reply comes in whole pieces (`TextArrived.whole`); what
        arrived of an attempt that failed is not told. It ends when the conversation is
        closed. Leaving it stops nothing.

        Args:
            after: The cursor of the last happening that was seen, or `Cursor()` for
                everything from the first turn on; None for what happens from now on.

        Raises:
            SettingsError: `after` is no cursor.
            ConversationClosedError: The conversation is not open.
            JournalError: The journal cannot be read.
        """
        CURSOR.demand("after", after)
        world = self._open_driver().world
        return Watch(self._feed, world.journal, after, world.policies.retry)

    def check(self) -> tuple[Finding, ...]:
        """What the strict rules of the API say about the whole next request.

        They are those for its base URL and `anthropic-version`; see `open` (settings).
        """
        snapshot = self._open_driver().snapshot
        return findings(snapshot, self._rules)

    @property
    def _rules(self) -> Rulebook:
        return Rulebook() if self._endpoint is None else self._endpoint.rules

    def diagram(self, format: "Format" = "text") -> str:
        """The turn machine, with the rows that this turn took.

        Args:
            format: "text", "mermaid", "dot" or "svg".

        Raises:
            SettingsError: There is no such format.
        """
        from turnlatch.diagrams import Format, render

        one_of(get_args(Format)).demand("format", format)
        turn = self._open_driver().snapshot.turn
        if turn is None:
            return render(TURN, format)
        return render(TURN, format, path=turn.path, current=turn.state)

    def _demand_nothing_owed(self) -> None:
        """A summary must take no decision from anybody, and no words."""
        snapshot = self._open_driver().snapshot
        turn = snapshot.turn
        if turn is None or turn.abandoned:
            return
        if not snapshot.resting:
            legal, why = ("approve", "deny", "send"), "no call waits to be decided"
        elif turn.state == TurnState.FAILED and turn.content:
            legal, why = ("retry", "abandon", "send"), "what was said is answered"
        else:
            return
        raise IllegalEventError(TURN.name, turn.state, "compact", legal, why)

    def _open_driver(self) -> Driver:
        if self._driver is None:
            raise ConversationClosedError(self._name)
        return self._driver
