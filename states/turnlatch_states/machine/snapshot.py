"""Everything a conversation remembers: a frozen value, and nothing outside it."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast, final

import attrs

from turnlatch_states.api.bounds import maybe_moment
from turnlatch_states.api.faults import Fault
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Charge, Spent, ToolUse, Usage
from turnlatch_states.api.stop_reasons import Outcome, outcome
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.doubt import Doubt, Found
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.thread import Thread
from turnlatch_states.machine.turn_states import OPENABLE, OWING, STATES, Substate
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import Base, History, Method
from turnlatch_states.request.pins import without_pin
from turnlatch_states.request.profile import Profile, Purpose
from turnlatch_states.request.render import base_in_force
from turnlatch_states.request.view import EMPTY, Op, View


@final
@attrs.frozen
class Call:
    """One tool call of the last confirmed reply.

    Attributes:
        use: The model's tool use.
        state: The call's state.
        closing: How it was closed, once it is.
        result: Its one `tool_result` block as JSON, once it is closed.
        note: Why it was denied, if it was.
        digest: Digest of the call that a person was asked about, or approved.
        expires: End of the question, seconds since the epoch; None for no end.
        key: The idempotency key it was started with.
        safe: It was started as one that only reads.
        entry: Sequence of the journal entry that confirmed the reply which asks for it.
        index: Which call of that reply it is, from 0.
        reply: SHA-256 of that reply, its `meta` included.
        renamed: The id that requests show it with, where another call of its turn is
            shown with `use.id`; else empty.
        arguments: The arguments that somebody was shown, as JSON, where they are not
            as the model wrote them; else empty.
    """

    use: ToolUse
    state: CallState = CallState.PROPOSED
    closing: Closing | None = None
    result: bytes = b""
    note: str = ""
    digest: str = ""
    expires: float | None = attrs.field(default=None, converter=maybe_moment)
    key: str = ""
    safe: bool = False
    entry: int = 0
    index: int = 0
    reply: str = ""
    renamed: str = ""
    arguments: bytes = b""

    @property
    def input(self) -> Mapping[str, Any] | None:
        """The arguments: those that would run, if a person was shown them, else the
        model's; None if they were cut off or are not an object."""
        if not self.arguments:
            return self.use.input
        return cast("Mapping[str, Any]", json.loads(self.arguments))

    @property
    def place(self) -> str:
        """Its place in the record, as `entry.index`: no other call ever has it."""
        return f"{self.entry}.{self.index}"

    @property
    def shown_id(self) -> str:
        """The id that requests show it, and its result, with."""
        return self.renamed or self.use.id

    @property
    def answer(self) -> bytes:
        """Its result as the next request shows it; empty while it is open."""
        if not (self.renamed and self.result):
            return self.result
        return encode({**json.loads(self.result), "tool_use_id": self.renamed})


@final
@attrs.frozen
class Move:
    """One executed row of the turn's table."""

    trigger: str
    source: str
    target: str


@final
@attrs.frozen
class Compacting:
    """A summary in the making, or one that was tried last.

    Attributes:
        covers: How many exchanges it is to stand for.
        method: How it is made.
        instructions: The hook's instructions for it; None if the hook gave none.
    """

    covers: int
    method: Method
    instructions: str | None = None


@final
@attrs.frozen
class Suspension:
    """The external condition that a failed turn waits for.

    Attributes:
        why: In words.
        until: End of the wait, seconds since the epoch; None if it is unknown.
    """

    why: str
    until: float | None = attrs.field(default=None, converter=maybe_moment)


@final
@attrs.frozen
class Inquiry:
    """Questions that are being put to the server about a failed turn.

    Attributes:
        start: The conversation when the first of them was to be asked: what follows
            from the answers is decided from there.
        answers: Why each of them failed, in order; None for one that passed.
    """

    start: "Snapshot"
    answers: tuple[Fault | None, ...]


@final
@attrs.frozen
class Turn:
    """One user input until the reply that needs nothing more from us.

    Attributes:
        number: 1 for the first turn of a conversation.
        substate: Where it stands: a leaf state of the turn's table, by name.
        purpose: The purpose of the turn.
        key: The caller's idempotency key.
        content: The user's blocks, while they are staged; empty once confirmed.
        taken: How many of the conversation's waiting messages are among them.
        said: The user's content of this turn, in any outcome.
        calls: The calls whose results the next request owes, in the order asked.
        attempt: Requests sent so far; the stamp of the one in flight.
        granted: Requests sent before the caller last asked for more; the turn's budget
            counts from there.
        charges: What each request used, as far as it is known: of failed attempts and of
            questions, too.
        charges_before: How many of them were before the caller last asked for more.
        failures: Attempts in a row that failed.
        fault: Why it failed, while it is failed.
        outcome: The outcome of the last confirmed reply.
        due: Time of the scheduled retry, seconds since the epoch; None without one.
        remedies: Every remedy that was tried in this turn.
        tried: Those since the last confirmation, or since the caller last asked.
        trial: How the history is shown by way of trial; None for as it is in force.
        max_tokens: The limit of the reply, where it is another than the profile's.
        copy: How the last request used the server's copy.
        compacting: The summary that is being made, or that failed last.
        compactions: Summaries asked for so far.
        probes: Number of probes, in addition to the requests.
        inquiry: Those since it failed, until they are concluded; None for none.
        counted: The last trial was put to the token counter.
        lent: The operations of the trial that hold only as long as the trouble does.
        unknown: Attempts whose reply may exist but was not seen.
        suspended: The external condition it waits for, if any.
        complaint: The format fault of the last answer; None without one.
        alike: Answers in a row with that complaint.
        misfits: Replies in a row that were not the output asked for.
        misfit: Why the last of them was not; empty otherwise.
        usage: Usage of this turn.
        path: The rows it took, in order.
        done: The calls whose results are confirmed, over the whole turn.
    """

    number: int
    substate: str
    purpose: Purpose = Purpose.MESSAGE
    key: str | None = None
    content: bytes = b""
    taken: int = 0
    said: bytes = b""
    calls: tuple[Call, ...] = ()
    attempt: int = 0
    granted: int = 0
    charges: tuple[Charge, ...] = ()
    charges_before: int = 0
    failures: int = 0
    fault: Fault | None = None
    outcome: Outcome | None = None
    due: float | None = None
    remedies: tuple[Remedy, ...] = ()
    tried: tuple[Remedy, ...] = ()
    trial: View | None = None
    max_tokens: int | None = None
    copy: Copy = Copy.NONE
    compacting: Compacting | None = None
    compactions: int = 0
    probes: int = 0
    inquiry: Inquiry | None = None
    counted: bool = False
    lent: tuple[Op, ...] = ()
    unknown: int = 0
    suspended: Suspension | None = None
    complaint: str | None = None
    alike: int = 0
    misfits: int = 0
    misfit: str = ""
    usage: Usage = attrs.field(factory=Usage)
    path: tuple[Move, ...] = ()
    done: tuple[Call, ...] = ()

    @cached_property
    def state(self) -> str:
        """One of the five states, by name."""
        return STATES[self.substate]

    @property
    def abandoned(self) -> bool:
        """Failed and given up; only the answers live on."""
        return self.substate == Substate.ABANDONED

    @property
    def requests(self) -> int:
        """The requests since the caller last asked, probes included."""
        return self.attempt + self.probes - self.granted

    @property
    def charged(self) -> tuple[Charge, ...]:
        """The charges since the caller last asked: what the turn's budget counts."""
        return self.charges[self.charges_before :]

    @property
    def open_calls(self) -> tuple[Call, ...]:
        """The calls that have no result yet."""
        return tuple(c for c in self.calls if c.state is not CallState.CLOSED)

    @cached_property
    def staged(self) -> bytes:
        """The blocks of the next user message: answers first, then the user's own."""
        parts = [call.answer for call in self.calls if call.result]
        if self.content:
            parts.append(self.content)
        return b",".join(parts)

    def call(self, id_: str) -> Call | None:
        """The call of the last reply that is told from its others by that id."""
        for call in self.calls:
            if call.use.id == id_:
                return call
        return None


@final
@attrs.frozen
class Lost:
    """Replies that were paid for and are not in the history.

    They were confirmed at the server and never seen here, or they were seen and did not
    answer the conversation.

    Attributes:
        replies: How many.
        input_tokens: At least how many tokens were read for them.
        output_tokens: Lower bound on their output tokens; those of unseen replies are
            unknown.
    """

    replies: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, cost: Usage) -> "Lost":
        """One reply more, and what it cost."""
        return Lost(
            self.replies + 1,
            self.input_tokens + cost.context - cost.output,
            self.output_tokens + cost.output,
        )


@final
@attrs.frozen
class Paid:
    """What a confirmed request was made from: the same again is the same prefix.

    Attributes:
        profile: The settings.
        view: How the history was shown.
        base: The summary it began with.
        size: How many exchanges followed from the history.
    """

    profile: Profile
    view: View
    base: Base | None
    size: int


@final
@attrs.frozen
class Snapshot:
    """A conversation at one moment.

    Attributes:
        profile: The settings of the next request.
        history: The confirmed exchanges.
        bases: The summaries that were confirmed, oldest first.
        spent: Usage of everything confirmed; see `usage`.
        turn: The current turn, or the last one; None before the first.
        turns: Number of the last turn that was opened.
        view: How the history is shown, as a confirmed request showed it.
        thread: The server's copy.
        window: The most tokens the server said it takes; None where it did not say.
        capped: The longest reply the server said it gives; None where it did not say.
        summed: The server said that prompt and reply must fit into the window together.
        density: At least how many tokens a byte is, as a refused length has shown.
        futile: Summaries in a row that failed.
        refused: Requests in a row that were refused for good.
        doubts: The evidence that the conversation causes failures.
        found: The view that last passed, unless a definite refusal required it: the next
            request is sent without it first.
        lost: Replies that were paid for and are not in the history.
        trials: Results of trials that need not be repeated: the key of each, whether it
            passed, and the turn that asked.
        known_bad: Digests of parts that were refused for their content.
        pins: The texts that go along with every summary, by name.
        let_go: The texts that a summary goes without any more: their names, each with
            the id of the reply that the summary came in.
        paid: The parts of the last confirmed request.
        said: Steered messages that are not confirmed yet, oldest first.
        entries: How many events made it: the sequence of the last one's journal entry.
        identity: The unique id of this record; empty in a record that was begun before
            records had one.
        simulated: True if a confirmed reply or summary was invented by a simulator.
            It stays so, whatever is rewound.
        usual: The conversation's settings, while `profile` holds those of one turn; else
            None.
    """

    profile: Profile
    history: History = attrs.field(factory=History)
    bases: tuple[Base, ...] = ()
    spent: Spent = attrs.field(factory=Spent)
    turn: Turn | None = None
    turns: int = 0
    view: View = EMPTY
    thread: Thread = attrs.field(factory=Thread)
    window: int | None = None
    capped: int | None = None
    summed: bool = False
    density: float = 0.0
    futile: int = 0
    refused: int = 0
    doubts: tuple[Doubt, ...] = ()
    found: Found | None = None
    lost: Lost = attrs.field(factory=Lost)
    trials: tuple[tuple[str, bool, int], ...] = ()
    known_bad: frozenset[str] = frozenset()
    pins: tuple[tuple[str, str], ...] = ()
    let_go: tuple[tuple[str, str], ...] = ()
    paid: Paid | None = None
    said: tuple[bytes, ...] = ()
    entries: int = 1
    identity: str = ""
    simulated: bool = False
    usual: Profile | None = None

    @property
    def lasting(self) -> Profile:
        """The conversation's settings, which hold from the next turn on."""
        return self.usual or self.profile

    @property
    def usage(self) -> Usage:
        """Usage of everything confirmed."""
        return self.spent.total

    @cached_property
    def base(self) -> Base | None:
        """The last summary, as it is sent; a view may ignore it."""
        if not self.bases:
            return None
        base = self.bases[-1]
        for name, id_ in self.let_go:
            if id_ == base.message_id:
                base = attrs.evolve(base, pins=without_pin(base.pins, name))
        return base

    @cached_property
    def showing(self) -> View:
        """How the next request shows the history: as tried, or as in force."""
        turn = self.turn
        return self.view if turn is None or turn.trial is None else turn.trial

    @cached_property
    def covered(self) -> int:
        """How many exchanges the summary that is shown stands for."""
        base = base_in_force(self.showing, self.base)
        return 0 if base is None else base.covers

    @property
    def state(self) -> str | None:
        """The state of the current turn; None before the first."""
        return None if self.turn is None else self.turn.state

    @property
    def substate(self) -> str:
        """Where the machine of turns stands; `new` before the first turn."""
        return Substate.NEW if self.turn is None else self.turn.substate

    @property
    def resting(self) -> bool:
        """True if nothing moves by itself and a new turn may be opened."""
        return self.substate in OPENABLE


def cuttable(history: History, size: int) -> bool:
    """True if the history may end after `size` exchanges: no pair is split there."""
    if size in (0, len(history)):
        return True
    if b'"tool_use"' not in history[size - 1].wire and b"pause_turn" not in (
        history[size - 1].meta
    ):
        return True
    reply = history[size - 1].reply
    return not reply.tool_uses and outcome(reply) is not Outcome.RESUME


def unheard(snapshot: Snapshot) -> bool:
    """True if a turn is done and something was said that it has not answered yet."""
    turn = snapshot.turn
    return (
        turn is not None
        and turn.substate == Substate.DONE
        and turn.purpose is Purpose.MESSAGE
        and bool(snapshot.said)
    )


def owes(turn: Turn) -> bool:
    """True if a confirmed turn must still go back to the model."""
    return turn.substate in OWING
