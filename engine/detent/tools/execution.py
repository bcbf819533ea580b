"""Running one call, once, to exactly one truthful result."""

import functools
import json
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, final

import anyio.to_thread
import attrs

from detent.background import Aside
from detent.errors import CorrectableToolError, TerminalToolError
from detent.tools.definition import KEY_PARAMETER, Reconciled, Tool
from detent.tools.results import fit_result
from detent_states.call import Closing
from detent_states.closing import UNKNOWN, closed_result
from detent_states.reply import ToolUse

NOT_DONE = (
    "Not executed: this call was interrupted before it had any effect, as was found out"
    " afterwards."
)


@attrs.frozen
class Ending:
    """How a call ended.

    Attributes:
        closing: Which truth its result tells.
        result: The `tool_result` block as JSON.
        output: The whole output where the result had to be cut.
        stops: Why the turn cannot go on, where the tool said so; else empty.
    """

    closing: Closing
    result: bytes
    output: bytes = b""
    stops: str = ""


def unusable(use: ToolUse, tool: Tool | None) -> Ending | None:
    """The ending of a call that cannot even start; None if it can."""
    if tool is None:
        return _error(use, f"There is no tool named {use.name!r} here.")
    if use.input is None:
        raw = use.broken or ""
        shown = raw if len(raw) <= 500 else raw[:500] + "…"
        return _error(
            use,
            "Not executed: the arguments are no JSON object: "
            + json.dumps({"INVALID_JSON": shown}),
        )
    return None


@final
class Run:
    """One run of a tool.

    Args:
        tool: The tool.
        use: The call; `use.input` is an object.
        key: The call's idempotency key, given to tools that take one.
        bytes_max: Longest result, if that is less than the tool's own.
    """

    def __init__(
        self, tool: Tool, use: ToolUse, key: str, bytes_max: int | None = None
    ) -> None:
        self._tool = tool
        self._use = use
        self._bytes_max = _least(tool, bytes_max)
        self._given: dict[str, Any] = dict(use.input or {})
        if tool.takes_key:
            self._given[KEY_PARAMETER] = key
        self._aside = Aside(self._work, tool.grace_seconds)
        self.ending: Ending | None = None
        """How it ended, as far as that was seen."""

    async def wait(self) -> Ending:
        """Run it within its time; whatever happens becomes its one result.

        Only what is not meant to be caught passes through, and cancellation. `ending`
        then says what was seen nevertheless: a tool that finishes within its grace time
        has finished.
        """
        await self._aside.wait(self._tool.timeout_seconds)
        if self.ending is None:
            self.ending = _timed_out(self._tool, self._use)
        return self.ending

    async def _work(self) -> None:
        self.ending = await self._attempt()

    async def _attempt(self) -> Ending | None:
        tool, use = self._tool, self._use
        try:
            if tool.is_async:
                value = await tool.validated(self._given)
            else:
                value = await anyio.to_thread.run_sync(
                    functools.partial(tool.validated, self._given),
                    abandon_on_cancel=True,
                )
            result, output = fit_result(use.id, value, bytes_max=self._bytes_max)
        except TerminalToolError as error:
            return attrs.evolve(_error(use, str(error)), stops=f"{tool.name}: {error}")
        except CorrectableToolError as error:
            return _error(use, str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a failure is a result
            if self._aside.stopped:
                return None  # it failed because it was stopped: nobody knows how far
            return _error(use, _explain(tool, error))
        return Ending(Closing.RESULT, result, output)


async def run_tool(tool: Tool, use: ToolUse, key: str) -> Ending:
    """Run one call within its time; whatever happens becomes its one result.

    Args:
        tool: The tool.
        use: The call; `use.input` is an object.
        key: The call's idempotency key, given to tools that take one.
    """
    return await Run(tool, use, key).wait()


async def reconcile(
    tool: Tool, use: ToolUse, key: str, bytes_max: int | None = None
) -> Ending:
    """Find out how a call ended whose end was not seen, as far as its tool can tell.

    Args:
        tool: The tool; without `reconcile` the outcome stays unknown.
        use: The call.
        key: The key it was started with.
        bytes_max: Longest result, if that is less than the tool's own.
    """
    unknown = Ending(Closing.UNKNOWN, closed_result(use.id, UNKNOWN))
    if tool.reconcile is None:
        return unknown
    asked, found = tool.reconcile, list[object]()

    async def ask() -> None:
        found.append(await _called(asked, key))

    try:
        await Aside(ask, tool.grace_seconds).wait(tool.timeout_seconds)
        value = found[0] if found else Reconciled.UNKNOWN
        if value is Reconciled.NOT_DONE:
            return Ending(Closing.NOT_EXECUTED, closed_result(use.id, NOT_DONE))
        if value is Reconciled.UNKNOWN:
            return unknown
        result, output = fit_result(use.id, value, bytes_max=_least(tool, bytes_max))
    except CorrectableToolError as error:
        return _error(use, str(error))
    except (Exception, SystemExit):  # noqa: BLE001 - who cannot tell has not told
        return unknown
    return Ending(Closing.RESULT, result, output)


def _least(tool: Tool, bytes_max: int | None) -> int:
    """How long a result may be."""
    own = tool.output_bytes_max
    return own if bytes_max is None else min(own, bytes_max)


async def _called(asked: Callable[[str], Any], key: str) -> object:
    """What a function says that may be async; one that is not runs in a thread."""
    if iscoroutinefunction(asked):
        return await asked(key)
    return await anyio.to_thread.run_sync(
        functools.partial(asked, key), abandon_on_cancel=True
    )


def _timed_out(tool: Tool, use: ToolUse) -> Ending:
    """A call past its time: a failure, or an end that nobody saw."""
    seconds = f"{tool.timeout_seconds:g} s"
    if tool.effect == "safe":
        return _error(use, f"Timed out after {seconds}.")
    text = (
        f"Timed out after {seconds}, outcome unknown: the call may or may not have had"
        " its effect; check before repeating it."
    )
    result, _ = fit_result(use.id, text, bytes_max=len(text) * 4, is_error=True)
    return Ending(Closing.UNKNOWN, result)


def _explain(tool: Tool, error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(error, ValueError) and cause is not None:
        # The SDK hides what was wrong with the arguments in the cause; the model
        # needs it to do better.
        details = getattr(cause, "errors", None)
        if callable(details):
            return f"{error}: {_details(details())}"
    said = str(error)
    name = type(error).__name__
    return f"{name}: {said}" if said else f"{name} in tool {tool.name}"


def _details(found: Any) -> str:
    lines = [
        f"{'.'.join(str(part) for part in one.get('loc', ())) or 'input'}:"
        f" {one.get('msg', 'invalid')}"
        for one in found
    ]
    return "; ".join(lines)


def _error(use: ToolUse, text: str) -> Ending:
    result, output = fit_result(use.id, text, bytes_max=16 * 1024, is_error=True)
    return Ending(Closing.ERROR, result, output)
