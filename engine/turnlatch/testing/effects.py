"""Effects as an oracle: what tools really did, apart from what their callers saw.

    effects = Effects()

    @effects.watched
    def pay(amount: int) -> str: ...

    effects.fail("pay", "timeout after")  # done, but the caller sees a timeout
    ...
    effects.once("pay", amount=3)

The ledger is in memory, or in a file that several processes append to: a killed agent and
the one that is started in its place share it. `Effects.from_environment()` finds the file
that the test names in `TURNLATCH_EFFECTS`.
"""

import functools
import inspect
import json
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast, final

import attrs

from turnlatch.errors import SettingsError

EFFECTS_FILE: Final = "TURNLATCH_EFFECTS"
"""The environment variable that names the ledger's file."""

DEATH: Final = "TURNLATCH_EFFECTS_DEATH"
"""The environment variable that names a phase of an entry: when the first such entry is
in the ledger, the process kills its group. `turnlatch break` sets it."""

P = ParamSpec("P")
T = TypeVar("T")


class EffectFault(StrEnum):
    """How a tool misbehaves."""

    ERROR_BEFORE = "error before"
    """Nothing is done, and the caller sees an error."""
    ERROR_AFTER = "error after"
    """The effect is done, and the caller sees an error."""
    TIMEOUT_AFTER = "timeout after"
    """The effect is done, and the caller sees a `TimeoutError`."""
    STALE = "stale"
    """The effect is done, and the caller sees the answer of the call before."""
    TWICE = "twice"
    """The call is delivered twice, so the effect is done twice unless the tool itself
    recognises the second delivery."""


class EffectError(RuntimeError):
    """The error that a caller of a watched tool sees where a fault says so."""


@final
@attrs.frozen
class Done:
    """One entry of the ledger.

    Attributes:
        tool: The tool's name.
        input: Its arguments by name, as JSON with sorted keys.
        phase: `begun`, `done`, or `seen`: the caller got an answer.
        text: With `seen`, the answer or the error as text.
        process: The id of the process that did it.
        at: The moment, by the clock of `Effects`.
    """

    tool: str
    input: str
    phase: str
    text: str = ""
    process: int = attrs.field(factory=os.getpid)
    at: float = attrs.field(default=0.0, eq=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name."""
        return cast("dict[str, Any]", json.loads(self.input))


class EffectsError(AssertionError):
    """The effects are not those that were claimed; the text lists the ledger."""


@final
class Effects:
    """Wraps tools and keeps a ledger of what they did.

    Args:
        file: The ledger, for several processes; None keeps it in memory.

    Attributes:
        file: The ledger's file; None if it is in memory.
        on_entry: Called with each entry when it is in the ledger.
        clock: Gives the moment of an entry, in seconds since the epoch.
    """

    def __init__(self, file: Path | str | None = None) -> None:
        self.file = None if file is None else Path(file)
        self._memory: list[Done] = []
        self._faults: dict[str, deque[EffectFault]] = {}
        self._last: dict[str, Any] = {}
        self._tools: set[str] = set()
        self.on_entry: Callable[[Done], None] = lambda _: None
        self.clock: Callable[[], float] = time.time

    @classmethod
    def from_environment(cls) -> "Effects":
        """The ledger that the test which started this process reads; one in memory if
        no test did."""
        made = cls(os.environ.get(EFFECTS_FILE) or None)
        if phase := os.environ.get(DEATH):
            made.on_entry = functools.partial(_die_at, phase)
        return made

    def share(self, file: Path) -> None:
        """Keep the ledger in a file from now on, for several processes; entries so far are
        written to it. Nothing happens if it is in a file already."""
        if self.file is None:
            self.file = file
            for entry in self._memory:
                self._write(entry)

    def watched(
        self, function: Callable[P, T], name: str | None = None
    ) -> Callable[P, T]:
        """Wrap a tool, plain or `async`; name, signature and docstring stay.

        The order of decorators: this one directly above the function, that of the agent
        framework on top.

        Args:
            function: The tool.
            name: The name by which the model calls it; the function's own by default.
        """
        name = name or function.__name__
        self._tools.add(name)
        signature = inspect.signature(function)

        def bound(args: Any, kwargs: Any) -> str:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            return json.dumps(given.arguments, sort_keys=True, default=str)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def watched_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                steps = self._call(name, bound(args, kwargs))
                for _ in steps:
                    steps.done(await function(*args, **kwargs))
                return steps.answer

            return cast("Callable[P, T]", watched_async)

        @functools.wraps(function)
        def watched_plain(*args: P.args, **kwargs: P.kwargs) -> Any:
            steps = self._call(name, bound(args, kwargs))
            for _ in steps:
                steps.done(function(*args, **kwargs))
            return steps.answer

        return watched_plain

    def fail(self, tool: str, fault: EffectFault | str, times: int = 1) -> None:
        """Let the next calls of a tool misbehave.

        Raises:
            SettingsError: No watched tool has that name, or there is no such fault.
        """
        self._demand_watched(tool)
        try:
            kind = EffectFault(fault)
        except ValueError:
            known = ", ".join(repr(str(one)) for one in EffectFault)
            raise SettingsError(
                "fault", f"there is no fault {fault!r}", f"use one of {known}"
            ) from None
        self._faults.setdefault(tool, deque()).extend([kind] * times)

    @property
    def ledger(self) -> tuple[Done, ...]:
        """Every entry so far, oldest first."""
        if self.file is None:
            return tuple(self._memory)
        if not self.file.exists():
            return ()
        lines = self.file.read_text("utf-8").splitlines()
        return tuple(Done(**json.loads(line)) for line in lines)

    def done(self, tool: str, **arguments: Any) -> int:
        """How often an effect was done, of the calls with these arguments."""
        return sum(
            one.phase == "done" and one.tool == tool and _fits(one, arguments)
            for one in self.ledger
        )

    def once(self, tool: str, **arguments: Any) -> None:
        """The effect was done exactly once.

        Raises:
            EffectsError: It was not.
        """
        self._hold(self.done(tool, **arguments) == 1, tool, arguments, "exactly once")

    def at_most_once(self, tool: str, **arguments: Any) -> None:
        """The effect was done once or not at all.

        Raises:
            EffectsError: It was done more often.
        """
        self._hold(self.done(tool, **arguments) <= 1, tool, arguments, "at most once")

    def _demand_watched(self, tool: str) -> None:
        """The tool is watched in this process.

        Raises:
            SettingsError: It is not.
        """
        if tool not in self._tools:
            known = ", ".join(sorted(self._tools)) or "none yet"
            raise SettingsError(
                "tool", f"{tool!r} is not watched", f"the watched tools: {known}"
            )

    def _hold(
        self, held: bool, tool: str, arguments: dict[str, Any], claim: str
    ) -> None:
        if self.file is None:  # a file may hold the effects of other processes
            self._demand_watched(tool)
        if held:
            return
        many = self.done(tool, **arguments)
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        lines = "\n".join(
            f"  process {one.process}: {one.tool} {one.input} {one.phase} {one.text}"
            for one in self.ledger
        )
        raise EffectsError(
            f"{tool}({given}) was to be done {claim} and was done {many} times.\n"
            f"The ledger:\n{lines or '  empty'}"
        )

    def _call(self, tool: str, written: str) -> "_Steps":
        faults = self._faults.get(tool)
        return _Steps(self, tool, written, faults.popleft() if faults else None)

    def note(self, entry: Done) -> None:
        """Append an entry to the ledger, at once and for all processes."""
        self._write(entry)
        self.on_entry(entry)

    def _write(self, entry: Done) -> None:
        if self.file is None:
            self._memory.append(entry)
            return
        line = json.dumps(attrs.asdict(entry)).encode() + b"\n"
        # One write with O_APPEND: lines of several processes do not mix, and what was
        # written stays when the process is killed directly after.
        place = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(place, line)
        finally:
            os.close(place)

    def answered(self, tool: str, answer: Any) -> Any:
        """Remember the newest answer of a tool; returns the one before."""
        before = self._last.get(tool, answer)
        self._last[tool] = answer
        return before


@final
class _Steps:
    """One call: each delivery of it, and what its caller sees in the end."""

    def __init__(
        self, effects: Effects, tool: str, written: str, fault: EffectFault | None
    ) -> None:
        self._effects = effects
        self._tool = tool
        self._written = written
        self._fault = fault
        self._value: Any = None

    def __iter__(self) -> Iterator[None]:
        """Yield once for each delivery to the tool."""
        if self._fault is EffectFault.ERROR_BEFORE:
            self._raise(EffectError(f"{self._tool} failed before it did anything"))
        for _ in range(2 if self._fault is EffectFault.TWICE else 1):
            self._note("begun")
            yield

    def done(self, value: Any) -> None:
        """The tool returned: its effect is done."""
        self._value = value
        self._note("done")

    @property
    def answer(self) -> Any:
        """The value that the caller sees; raises the error that it sees instead."""
        before = self._effects.answered(self._tool, self._value)
        match self._fault:
            case EffectFault.ERROR_AFTER:
                self._raise(EffectError(f"{self._tool} failed"))
            case EffectFault.TIMEOUT_AFTER:
                self._raise(TimeoutError(f"{self._tool} did not answer in time"))
            case EffectFault.STALE:
                self._value = before
            case _:
                pass
        self._note("seen", str(self._value))
        return self._value

    def _raise(self, error: Exception) -> None:
        self._note("seen", f"{type(error).__name__}: {error}")
        raise error

    def _note(self, phase: str, text: str = "") -> None:
        at = self._effects.clock()
        self._effects.note(Done(self._tool, self._written, phase, text, at=at))


def _die_at(phase: str, entry: Done) -> None:
    # From the inside, so that the moment is certain: nothing runs after the entry.
    if entry.phase == phase:
        os.killpg(os.getpgrp(), signal.SIGKILL)


def _fits(entry: Done, arguments: dict[str, Any]) -> bool:
    given = entry.arguments
    return all(given.get(name) == value for name, value in arguments.items())
