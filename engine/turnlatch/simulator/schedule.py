"""Which faults of a script meet which request."""

from typing import Final, assert_never, final

import attrs

from turnlatch.errors import SettingsError
from turnlatch.simulator.faults import (
    Action,
    CutEvents,
    CutPercent,
    Empty,
    ErrorEvent,
    ExpireThreads,
    Garbled,
    Html,
    Kind,
    LimitChange,
    NoAnswer,
    RuleSwitch,
    Script,
    ScriptedFault,
    Slow,
    Status,
    When,
)
from turnlatch_states.api.rules import RULES, ApiLimits

_LIMITS: Final = tuple(sorted(field.name for field in attrs.fields(ApiLimits)))
_RULES: Final = tuple(rule.id for rule in RULES)


def check_names(script: Script) -> None:
    """See that every limit and every rule a script names exists.

    Raises:
        SettingsError: One does not; it names the fault and what there is.
    """
    for fault in script:
        match fault.action:
            case LimitChange(name) if name not in _LIMITS:
                kind, known = "limit", _LIMITS
            case RuleSwitch(name) if name not in _RULES:
                kind, known = "rule", _RULES
            case _:
                continue
        raise SettingsError(
            f"faults: {fault}",
            f"there is no {kind} {name!r}",
            f"name one of {', '.join(known)}",
        )


def check_rules(ids: frozenset[str]) -> None:
    """See that every one of these rules exists.

    Raises:
        SettingsError: One does not.
    """
    for name in sorted(ids.difference(_RULES)):
        raise SettingsError(
            "rules_off",
            f"there is no rule {name!r}",
            f"name one of {', '.join(_RULES)}",
        )


@final
@attrs.frozen
class Circumstances:
    """The facts that decide whether a fault applies.

    Attributes:
        number: Of the request, as `When.requests` counts.
        kinds: All the classes the request belongs to.
        model: Its `model`, if it has a string there.
        body: Its bytes.
        seconds: Since the simulator's start.
    """

    number: int
    kinds: frozenset[Kind]
    model: str | None
    body: bytes
    seconds: float


def applies(when: When, now: Circumstances) -> bool:
    """Whether the conditions hold, `every` and `times` apart, which count."""
    if when.kind not in now.kinds:
        return False
    if now.seconds < when.at_seconds:
        return False
    if when.until_seconds is not None and now.seconds >= when.until_seconds:
        return False
    if when.requests and not any(
        span.first <= now.number and (span.last is None or now.number <= span.last)
        for span in when.requests
    ):
        return False
    if when.model is not None and when.model != now.model:
        return False
    return when.body is None or when.body.encode(errors="surrogatepass") in now.body


@final
@attrs.define(eq=False)
class _Planned:
    """One fault in use: what it counts from, and how often it met a request."""

    fault: ScriptedFault
    number: int
    seconds: float
    matched: int = 0
    fired: int = 0

    def may_fire(self, now: Circumstances) -> bool:
        when, limit = self.fault.when, self.fault.when.times_max
        if limit is not None and self.fired >= limit:
            return False
        if isinstance(self.fault.action, CutEvents | ErrorEvent) and (
            "stream" not in now.kinds
        ):
            return False
        if self.number or self.seconds:
            number, seconds = now.number - self.number, now.seconds - self.seconds
            now = attrs.evolve(now, number=number, seconds=seconds)
        return applies(when, now)

    @property
    def missing(self) -> bool:
        """True if it met fewer requests than its text says."""
        return self.fired < self.wanted

    @property
    def wanted(self) -> int:
        """How often it is to meet a request, as far as its text says that."""
        when = self.fault.when
        if when.times is not None:
            return when.times
        if not when.requests or when.every is not None or when.forever:
            return 1
        ends = [(span.first, span.last or span.first) for span in when.requests]
        return len({one for first, last in ends for one in range(first, last + 1)})

    def is_over(self, number: int, seconds: float) -> bool:
        """Whether no request after this one, from this time on, can meet it."""
        when, limit = self.fault.when, self.fault.when.times_max
        if limit is not None and self.fired >= limit:
            return True
        if when.until_seconds is not None and (
            seconds - self.seconds >= when.until_seconds
        ):
            return True
        # Requests to the other endpoints still have the number of the last message.
        least = number - self.number + (when.kind not in ("count_tokens", "models"))
        return bool(when.requests) and all(
            span.last is not None and span.last < least for span in when.requests
        )


@final
class Faults:
    """Scripts in use: which fault is due, and how often each one was.

    Args:
        script: The faults that are there from the start.
    """

    def __init__(self, script: Script) -> None:
        self._planned = tuple(_Planned(fault, 0, 0.0) for fault in script)
        self._over: tuple[_Planned, ...] = ()

    def add(self, script: Script, number: int, seconds: float) -> None:
        """Add faults, to be asked after those that are there.

        Args:
            script: The faults.
            number: The number of the last request; theirs are counted from it.
            seconds: Since the simulator's start; their times are counted from it.
        """
        over = [each for each in self._planned if each.is_over(number, seconds)]
        left = [each for each in self._planned if each not in over]
        added = (_Planned(fault, number, seconds) for fault in script)
        self._over = (*self._over, *(each for each in over if each.missing))
        self._planned = (*left, *added)

    def clear(self) -> None:
        """Forget every fault; none of them counts as unmet."""
        self._planned = self._over = ()

    @property
    def unmet(self) -> tuple[tuple[ScriptedFault, int], ...]:
        """The faults that met fewer requests than their text says, and how many."""
        every = (*self._over, *self._planned)
        return tuple((each.fault, each.fired) for each in every if each.missing)

    def pending(self, number: int, seconds: float) -> Script:
        """The faults that a request after this one can still meet."""
        return tuple(
            each.fault for each in self._planned if not each.is_over(number, seconds)
        )

    def due(self, now: Circumstances) -> tuple[Action, ...]:
        """The actions that apply to this request; each one counts as used.

        At most one of them replaces or spoils the response: the first in the script.
        The others stay unused, so that `429, 529` meets two requests.
        """
        due: list[Action] = []
        spoiled = False
        for planned in self._planned:
            action, when = planned.fault.action, planned.fault.when
            spoils = _spoils(action)
            if (spoils and spoiled) or not planned.may_fire(now):
                continue
            planned.matched += 1
            if when.every is not None and planned.matched % when.every:
                continue
            planned.fired += 1
            spoiled = spoiled or spoils
            due.append(action)
        return tuple(due)


def _spoils(action: Action) -> bool:
    match action:
        case Slow() | RuleSwitch() | LimitChange() | ExpireThreads():
            return False
        case (
            Status()
            | CutEvents()
            | CutPercent()
            | ErrorEvent()
            | Garbled()
            | Html()
            | Empty()
            | NoAnswer()
        ):
            return True
        case _:
            assert_never(action)
