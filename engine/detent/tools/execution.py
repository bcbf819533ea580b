"""Running one call, once, to exactly one truthful result."""

import functools
import json
from typing import Any

import anyio
import anyio.to_thread
import attrs

from detent.tools.definition import KEY_PARAMETER, Tool
from detent.tools.results import fit_result
from detent_states.call import Closing
from detent_states.reply import ToolUse


@attrs.frozen
class Ending:
    """How a call ended.

    Attributes:
        closing: Which truth its result tells.
        result: The `tool_result` block as JSON.
        output: The whole output where the result had to be cut.
    """

    closing: Closing
    result: bytes
    output: bytes = b""


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


async def run_tool(tool: Tool, use: ToolUse, key: str) -> Ending:
    """Run one call within its time; whatever happens becomes its one result.

    Only cancellation passes through, because then the end was not seen.

    Args:
        tool: The tool.
        use: The call; `use.input` is an object.
        key: The call's idempotency key, given to tools that take one.
    """
    given: dict[str, Any] = dict(use.input or {})
    if tool.takes_key:
        given[KEY_PARAMETER] = key
    value: object = None
    with anyio.move_on_after(tool.timeout_seconds) as scope:
        try:
            if tool.is_async:
                value = await tool.validated(given)
            else:
                value = await anyio.to_thread.run_sync(
                    functools.partial(tool.validated, given), abandon_on_cancel=True
                )
        except Exception as error:  # noqa: BLE001 - a tool's failure is its result
            return _error(use, _explain(tool, error))
    if scope.cancelled_caught:
        return _timed_out(tool, use)
    result, output = fit_result(use.id, value, bytes_max=tool.output_bytes_max)
    return Ending(Closing.RESULT, result, output)


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


def _explain(tool: Tool, error: Exception) -> str:
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
