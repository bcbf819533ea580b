"""Which faults of a script meet which request."""

from typing import assert_never, final

import attrs

from detent.simulator.faults import (
    Action,
    CutEvents,
    CutPercent,
    Empty,
    ErrorEvent,
    ExpireThreads,
    Fault,
    Garbled,
    Html,
    Kind,
    LimitChange,
    NoAnswer,
    RuleSwitch,
    Script,
    Slow,
    Status,
    When,
)


@final
@attrs.frozen
class Circumstances:
    """What a fault may look at to say whether it applies.

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
class Faults:
    """A script in use: counts how often each fault applied.

    Args:
        script: The faults.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self._matched = [0] * len(script)
        self._fired = [0] * len(script)

    def due(self, now: Circumstances) -> tuple[Action, ...]:
        """The actions that apply to this request; each one counts as used.

        At most one of them replaces or spoils the response: the first in the script.
        The others stay unused, so that `429, 529` meets two requests.
        """
        due: list[Action] = []
        spoiled = False
        for index, fault in enumerate(self.script):
            spoils = _spoils(fault.action)
            if (spoils and spoiled) or not self._may_fire(index, fault, now):
                continue
            self._matched[index] += 1
            if fault.when.every is not None and self._matched[index] % fault.when.every:
                continue
            self._fired[index] += 1
            spoiled = spoiled or spoils
            due.append(fault.action)
        return tuple(due)

    def _may_fire(self, index: int, fault: Fault, now: Circumstances) -> bool:
        limit = fault.when.times_max
        if limit is not None and self._fired[index] >= limit:
            return False
        if isinstance(fault.action, CutEvents | ErrorEvent) and (
            "stream" not in now.kinds
        ):
            return False
        return applies(fault.when, now)


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
