"""The properties that hold at every edge of the exploration."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, final

from turnlatch.ports import Entries
from turnlatch.rulebook import Rulebook
from turnlatch.testing.conformity import conforms
from turnlatch.testing.verify.situation import (
    Situation,
    Stored,
    Writing,
    snapshot_key,
)
from turnlatch.testing.verify.world import SAID, TOOLS
from turnlatch_states.effects.call_effects import CallRun
from turnlatch_states.effects.effect import Effect, Probe, Send
from turnlatch_states.fsm.table import Effect as RowEffect
from turnlatch_states.fsm.table import Transition
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.load import fold_events
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import Step

PROPERTIES: Final[Mapping[str, str]] = {
    "commits": "only commits change history, summaries and usage",
    "legal": "the engine gives the machine no event that the tables refuse",
    "progress": "decisions in a row come to something that is waited for",
    "pairs": "every call in a request has exactly one result, in the next message",
    "accepted": "the rules of the API accept every request",
    "intent": "nothing is performed before what announces it is durable",
    "once": "no effect happens twice, unless its tool only reads",
    "approved": "a call that asks runs only after a yes to exactly that call",
    "truth": "the result of a call does not contradict what happened",
    "fenced": "an append of a writer that lost the lease never lands",
    "told": "watchers are told what is durable, once and in order",
    "replay": "loading the journal gives what the writer remembers",
    "kept": "what was told as confirmed is there after every crash",
    "conforms": "the journal conforms to the tables",
    "dead end": "a state that nothing leaves is a conversation at rest",
    "confirmable": "from every state a message can be confirmed",
}
"""The properties by name."""

_IDS: Final = re.compile(
    rb'"type":"tool_use","id":"([^"]+)"|"tool_use_id":"([^"]+)"|"role":"(user|assistant)"'
)
_NUMBERS: Final = re.compile(rb"\d+")
_CHANGING: Final = (RowEffect.COMMIT, RowEffect.REWIND)
_NOT_RUN: Final = (Closing.NOT_EXECUTED, Closing.DENIED, Closing.CUT_OFF)


class BrokenError(Exception):
    """A property does not hold.

    Attributes:
        name: The property's name.
        said: The contradiction, in words.
    """

    def __init__(self, name: str, said: str) -> None:
        super().__init__(name, said)
        self.name = name
        self.said = said


@final
class PropertyJudge:
    """Holds what processes do to the properties; each method raises `BrokenError`."""

    def __init__(self) -> None:
        self._shapes: set[bytes] = set()
        self._journals: set[int] = set()
        self.rows: set[Transition] = set()
        """The rows of the turn's table that were taken."""

    @property
    def said(self) -> bytes:
        """The content of every message."""
        return SAID

    def committed(self, before: Snapshot, event: Event, made: Step) -> None:
        """Property `commits`."""
        after, row = made.snapshot, made.row
        if row is not None:
            self.rows.add(row)
        if row is not None and row.effect in _CHANGING:
            return
        kept = (
            after.history is before.history or after.history == before.history,
            after.bases == before.bases,
            after.spent is before.spent or after.usage == before.usage,
        )
        if not all(kept):
            raise BrokenError("commits", f"{type(event).__name__} changed the history")

    def performed(self, at: Situation, one: Writing, effect: Effect) -> None:
        """Properties `intent`, `pairs` and `accepted`."""
        if one.kept.unsaved or one.snapshot.entries != len(at.stored.rows):
            raise BrokenError("intent", f"{type(effect).__name__} is performed early")
        if isinstance(effect, Send | Probe):
            self.request(effect.request.body, effect.request.betas)

    def request(self, body: bytes, betas: Sequence[str]) -> None:
        """Properties `pairs` and `accepted`."""
        open_ids: list[bytes] = []
        for use, result, role in _IDS.findall(body):
            if use:
                open_ids.append(use)
            elif result and result in open_ids:
                open_ids.remove(result)
            elif result or (role == b"assistant" and open_ids):
                raise BrokenError("pairs", "a call or a result stands alone")
        if open_ids:
            raise BrokenError("pairs", "a request leaves with an open call")
        shape = _NUMBERS.sub(b"0", body)
        if shape in self._shapes:
            return
        self._shapes.add(shape)
        found = Rulebook(own=False).findings(
            json.loads(body), frozenset(betas), len(body)
        )
        for one in found:
            if not one.accepted_too:
                raise BrokenError("accepted", one.message)

    def begun(self, at: Situation, run: CallRun) -> Situation:
        """Properties `once` and `approved`; the effect of the call happens."""
        call = run.call
        name, before = call.use.name, at.ran.get(call.place, 0)
        if before and TOOLS[name].effect != "safe":
            raise BrokenError("once", f"{name} happens a second time")
        if TOOLS[name].effect == "ask":
            yes = any(
                isinstance(row, ev.CallApproved) and row.call == call.use.id
                for row in at.stored.rows
            )
            if not yes:
                raise BrokenError("approved", f"{name} runs without a yes")
        return at._replace(ran={**at.ran, call.place: min(before + 1, 2)})

    def fenced(self, before: Stored, epoch: int, after: Stored) -> None:
        """Property `fenced`."""
        if epoch != before.epoch and len(after.rows) > len(before.rows):
            raise BrokenError("fenced", "the append of an older writer lands")

    def told(self, stored: Stored, sequence: int, event: Event) -> None:
        """Property `told`."""
        rows = stored.rows
        if sequence <= stored.told or not (
            sequence <= len(rows) and rows[sequence - 1] is event
        ):
            raise BrokenError("told", f"{type(event).__name__} is told as {sequence}")

    def replayed(self, stored: Stored, one: Writing, ran: Mapping[str, int]) -> None:
        """Properties `replay` and `truth`, once an append has landed."""
        if not _same(stored.replayed, one.snapshot):
            raise BrokenError("replay", "loading gives something else")
        turn = stored.replayed.turn
        for call in () if turn is None else turn.calls:
            happened = ran.get(call.place, 0) > 0
            lies = happened if call.closing in _NOT_RUN else not happened
            told = call.closing in (*_NOT_RUN, Closing.RESULT)
            if call.state is CallState.CLOSED and told and lies:
                said = f"{call.use.name} is told as {call.closing}"
                raise BrokenError("truth", said)

    def rested(self, at: Situation, one: Writing) -> None:
        """Property `intent`: what a method returns with is durable."""
        if one.snapshot.entries != len(at.stored.rows):
            raise BrokenError(
                "intent", "a method returns before its events are durable"
            )

    def opened(self, left: Stored, found: Stored) -> None:
        """Properties `kept`, `replay` and `conforms`."""
        before = left.confirmed
        rewound = any(isinstance(row, ev.Rewound) for row in left.rows[left.told :])
        held = tuple(found.replayed.history.wires())
        if not rewound and held[: len(before)] != before:
            raise BrokenError("kept", "a confirmed exchange is gone")
        kind = hash(snapshot_key(found.replayed))
        if kind in self._journals:
            return
        self._journals.add(kind)
        if not _same(fold_events(found.rows), found.replayed):
            raise BrokenError("replay", "loading the whole gives something else")
        problem = conforms(Entries(found.rows))
        if problem is not None:
            raise BrokenError("conforms", str(problem))


def _same(one: Snapshot, other: Snapshot) -> bool:
    return one is other or one == other
