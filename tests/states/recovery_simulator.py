"""Runs the recovery of one turn without an engine, against a service that is a function.

A test names what the service refuses, and reads what the ladders did about it:

    def too_long(sent: Sent) -> Fault | None:
        return Fault(FaultKind.TOO_LONG, "too long") if sent.what == "message" else None

    chat = Conversation()
    chat.opens(text("Hello"))
    recovery = Recovery(chat, too_long).run()
    assert recovery.turn.state == "failed"
    assert [one.what for one in recovery.sent] == ["message"]

`Recovery.run` takes effect after effect, as the engine's loop does, and asserts that the
rungs were taken in the order of the printed ladder (`disorder`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias, final

import attrs
from tests.states.conversation_strategies import Conversation

from turnlatch_states.api.faults import Fault
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.proxy_errors import unwrapped
from turnlatch_states.api.reply import Reply
from turnlatch_states.effects.commands import Command, next_command
from turnlatch_states.effects.effect import (
    Answer,
    Apply,
    Conditions,
    Count,
    Effect,
    Probe,
    Rest,
    Send,
    Sleep,
)
from turnlatch_states.effects.interpret import interpret
from turnlatch_states.effects.next_effect import carry_out, next_effect
from turnlatch_states.effects.requests import digest
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.refused_parts import place_of
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.step import step
from turnlatch_states.recovery.decide import decide, next_rung
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    Compact,
    Decision,
    PingServer,
    Stop,
    Suspend,
    WaitThenRetry,
)
from turnlatch_states.recovery.ladder import LADDERS
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.recovery.rung import Failure, Rung
from turnlatch_states.request.build import Request
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.render import Place

DRAW = 0.5
"""What every decision draws."""


@final
@attrs.frozen
class Sent:
    """One request, as the service sees it.

    Attributes:
        what: `message`, `summary`, `told`, `small` or `trial`.
        body: Its bytes.
        names: Its beta names.
    """

    what: str
    body: bytes
    names: tuple[str, ...]


@final
@attrs.frozen
class Taken:
    """One rung that a recovery took.

    Attributes:
        rung: The rung, as `decide` took it from its ladder.
        decision: What it proposed.
        failure: What it was asked about.
    """

    rung: Rung
    decision: Decision
    failure: Failure

    @property
    def fault(self) -> Fault:
        """What was met."""
        return self.failure.fault

    @property
    def summary(self) -> bool:
        """True if a request for a summary met it."""
        return self.failure.turn.compacting is not None

    @property
    def met(self) -> tuple[Fault, bool, Place | None]:
        """What was met, and where: a path counts the messages that are shown."""
        failure, path = self.failure, self.fault.path
        named = path is not None and path.startswith("messages.")
        place = place_of(failure.snapshot, failure.turn, path or "") if named else None
        return self.fault, self.summary, place

    @property
    def printed(self) -> tuple[Rung, ...]:
        """The rungs that `turnlatch explain` prints for it."""
        ladder = LADDERS[self.fault.kind]
        return ladder.summary if self.summary else ladder.rungs


def disorder(taken: Sequence[Taken]) -> list[str]:
    """What a recovery did against its ladder as `turnlatch explain` prints it.

    No rung above the one that is taken applies. While the same fault is met in the same
    place, rungs are taken for the first time from the top down; a confirmed summary
    begins at the top again. No rung is taken more often than it says, since the last confirmed reply or
    retry().
    """
    found: list[str] = []
    lowest: dict[tuple[Fault, bool, Place | None], int] = {}
    times: Counter[int] = Counter()
    before: tuple[Remedy, ...] = ()
    summaries = 0
    for one in taken:
        tried, bases = one.failure.turn.tried, len(one.failure.snapshot.bases)
        if bases > summaries:  # another history is shown now
            lowest, summaries = {}, bases
        if tried[: len(before)] != before:
            lowest, times = {}, Counter()
        before = tried
        name = f"{one.fault.kind.value}: {one.rung.remedy.value}"
        at = next((i for i, rung in enumerate(one.printed) if rung is one.rung), None)
        if at is None:
            found.append(f"{name} is not printed")
            continue
        found += [
            f"{name} before {rung.remedy.value}"
            for rung in one.printed[:at]
            if rung.decision(one.failure) is not None
        ]
        if remedy_of(one.decision) not in (one.rung.remedy, Remedy.WAIT):
            found.append(f"{name} came to {one.decision}")
        met, many = one.met, times[id(one.rung)]
        if at < lowest.get(met, -1) and not many:
            found.append(f"{name} after {one.printed[lowest[met]].remedy.value}")
        lowest[met] = max(at, lowest.get(met, -1))
        times[id(one.rung)] += 1
        if one.rung.at_most is not None and many >= one.rung.at_most:
            found.append(f"{name} more often than {one.rung.often}")
    return found


def remedy_of(decision: Decision) -> Remedy | None:
    """The remedy that a decision applies; None for the end."""
    match decision:
        case WaitThenRetry():
            return Remedy.WAIT
        case ChangeRequest():
            return decision.remedy
        case Compact():
            told = decision.method is Method.TOLD
            return Remedy.TELL if told else Remedy.COMPACT
        case PingServer():
            return Remedy.PROBE
        case BisectHistory():
            return Remedy.BISECT
        case Suspend():
            return Remedy.SUSPEND
        case Stop():
            return None


Service: TypeAlias = Callable[[Sent], Fault | None]
"""What refuses a request, or None to answer it."""


@final
class Recovery:
    """The recovery of one turn, effect after effect."""

    def __init__(
        self, chat: Conversation, service: Service, policies: Policies | None = None
    ) -> None:
        self.chat = chat
        self.before = chat.snapshot
        self.alternations = max(
            (doubt.alternations for doubt in chat.snapshot.doubts), default=0
        )
        self.service = service
        self.policies = policies or Policies()
        self.events: list[Event] = []
        self.decisions: list[Decision] = []
        self.taken: list[Taken] = []
        self.sent: list[Sent] = []
        self.refused: dict[Sent, Fault] = {}
        self.again: list[Decision] = []
        self.waited: list[float] = []
        self.without: frozenset[Remedy] = frozenset()
        self.decides: Callable[[], Decision] = self._decided
        self._refused: dict[bytes, Fault] = {}
        self._counts: dict[Request, Fault | None] = {}
        self._changed: ChangeRequest | None = None

    @property
    def snapshot(self) -> Snapshot:
        """Where the conversation stands."""
        return self.chat.snapshot

    @property
    def turn(self) -> Turn:
        """The turn whose failure is handled."""
        return self.chat.turn

    def do(self, event: Event) -> None:
        """What happens, through the machine."""
        self.events.append(event)
        self.chat.snapshot = step(self.chat.snapshot, event).snapshot

    def run(self, most: int = 1000) -> "Recovery":
        """Do what is next until the turn rests."""
        for _ in range(most):
            if not self.goes_on():
                wrong = disorder(self.taken)
                assert not wrong, f"{wrong}: {self.told}"
                return self
        raise AssertionError(f"no end after {most} effects: {self.told[-12:]}")

    @property
    def told(self) -> list[str]:
        """The decisions, by name."""
        return [
            f"{type(one).__name__}"
            + (f" {one.remedy}" if isinstance(one, ChangeRequest) else "")
            + (f" {one.method}" if isinstance(one, Compact) else "")
            for one in self.decisions
        ]

    def goes_on(self) -> bool:
        """Do what is next, as the engine's loop does; False if that is to rest."""
        given = Conditions(
            self.policies,
            draw=DRAW,
            stream_above_tokens=10**9,
            refused=self._refused,
            counts=self._counts,
        )
        effect = self._next(given)
        for event in effect.announces:
            self.do(event)
        answer = self._performed(effect)
        for event in interpret(self.snapshot, effect, answer, given):
            self.do(event)
        return not isinstance(effect, Rest)

    def _next(self, given: Conditions) -> Effect:
        effect = next_effect(self.snapshot, given)
        command = next_command(self.snapshot)
        if command is Command.SEND:
            if isinstance(effect, Apply) and self._changed is not None:
                # It was refused before, so what was chosen has changed nothing.
                self.again.append(self._changed)
            self._changed = None
        if command is not Command.RECOVER:
            return effect
        if effect.decision is not None:
            spent = given.budget.spent(self.turn, 0.0) is not None
            decision = Stop() if spent else self.decides()
            self.decisions.append(decision)
            if isinstance(decision, ChangeRequest) and (
                decision.view or decision.max_tokens
            ):
                self._changed = decision
        return carry_out(self.snapshot, self.turn, self.decisions[-1], given)

    def _performed(self, effect: Effect) -> Answer:
        match effect:
            case Send(request) if request.purpose is Purpose.MESSAGE:
                return self._asks(request, "message")
            case Send(request):
                made = self.turn.compacting
                told = made is not None and made.method is Method.TOLD
                return self._asks(request, "told" if told else "summary")
            case Probe(request):
                return self._asks(request, "small" if effect.small else "trial")
            case Sleep():
                self.waited.append(effect.seconds)
            case Count(request):
                self._counts[request] = None  # the counter sees nothing wrong
            case _:
                pass
        return None

    def _asks(self, request: Request, what: str) -> Reply | Fault:
        sent = Sent(what, request.body, request.betas)
        self.sent.append(sent)
        fault = self.service(sent)
        if fault is None:
            return _reply(what)
        if fault.definite and what in ("message", "summary", "told"):
            self.refused[sent] = fault
            self._refused[digest(request)] = fault
        return fault

    def _decided(self) -> Decision:
        snapshot, policies = self.snapshot, self.policies
        made = decide(snapshot, policies, DRAW)
        taken = next_rung(snapshot, policies, DRAW)
        assert made == (Stop() if taken is None else taken[1])
        if taken is not None and self.turn.fault is not None:
            fault = unwrapped(self.turn.fault)
            failure = Failure(snapshot, self.turn, fault, policies, DRAW)
            self.taken.append(Taken(*taken, failure))
        match made:
            case ChangeRequest() if made.remedy in self.without:
                return Stop()
            case Compact() if Remedy.COMPACT in self.without:
                return Stop()
            case _:
                return made


def _reply(what: str) -> Reply:
    """What answers a request of that kind."""
    block, stop = {"type": "text", "text": "At last."}, "end_turn"
    if what == "summary":
        block, stop = {"type": "compaction", "content": "In short."}, "compaction"
    usage = {"input_tokens": 10**9, "output_tokens": 1}
    facts = {"id": f"msg_{what}", "stop_reason": stop, "usage": usage}
    return Reply(encode(block), encode(facts))
