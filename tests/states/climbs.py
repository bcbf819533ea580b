"""The ladders as the engine climbs them, without an engine: effect after effect, against a
service that is a function."""

from collections.abc import Callable
from typing import TypeAlias, final

import attrs
from tests.states.talks import Talk

from turnlatch_states.api.faults import Fault
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
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
from turnlatch_states.machine.commands import Command, next_command
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.step import step
from turnlatch_states.recovery.decide import decide
from turnlatch_states.recovery.decisions import ChangeRequest, Compact, Decision, Stop
from turnlatch_states.recovery.policies import Policies
from turnlatch_states.request.build import Request
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Purpose


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


Service: TypeAlias = Callable[[Sent], Fault | None]
"""What refuses a request, or None to answer it."""


@final
class Climb:
    """One turn that is being climbed out of, or not."""

    def __init__(
        self, talk: Talk, service: Service, policies: Policies | None = None
    ) -> None:
        self.talk = talk
        self.before = talk.snapshot
        self.alternations = max(
            (doubt.alternations for doubt in talk.snapshot.doubts), default=0
        )
        self.service = service
        self.policies = policies or Policies()
        self.events: list[Event] = []
        self.decisions: list[Decision] = []
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
        return self.talk.snapshot

    @property
    def turn(self) -> Turn:
        """The turn that is being climbed out of."""
        return self.talk.turn

    def do(self, event: Event) -> None:
        """What happens, through the machine."""
        self.events.append(event)
        self.talk.snapshot = step(self.talk.snapshot, event).snapshot

    def run(self, most: int = 1000) -> "Climb":
        """Do what is next until the turn rests."""
        for _ in range(most):
            if not self.goes_on():
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
            draw=0.5,
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
        made = decide(self.snapshot, self.policies, 0.5)
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
