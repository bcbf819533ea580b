"""Running one call, once, to exactly one truthful result."""

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from inspect import isawaitable
from typing import Any, cast, final

import attrs

from turnlatch.errors import (
    CancelledItselfError,
    CorrectableToolError,
    NoAnswerError,
    OutcomeUnknownError,
    TerminalToolError,
    words,
)
from turnlatch.logs import LOG_CALLER
from turnlatch.tasks import Aside, answered, called, own_cancellation
from turnlatch.tools.arguments import ArgumentsError
from turnlatch.tools.context import ToolContext, progress_of, unattached
from turnlatch.tools.definition import Reconciled, Tool, ToolCall
from turnlatch.tools.draining import drained, read_here
from turnlatch.tools.jsonable import NoJsonError
from turnlatch.tools.results import fit_result
from turnlatch.tools.sdk_tools import as_blocks, failure_content
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.call_effects import Ending
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.synthetic_results import UNKNOWN, closed_result

NOT_DONE = (
    "Not executed: this call was interrupted before it had any effect, as was found out"
    " afterwards."
)


@final
class ToolRun:
    """One run of a tool.

    Args:
        tool: The tool.
        use: The call; `use.input` is an object.
        key: The call's idempotency key, given to tools that take one.
        bytes_max: Longest result, if that is less than the tool's own.
        begins: Called when the tool begins to run.
        shown: The arguments that somebody said yes to, where they are not as the model
            wrote them.
        context: The call's context, given to tools that take one.
    """

    def __init__(
        self,
        tool: Tool,
        use: ToolUse,
        key: str,
        bytes_max: int | None = None,
        begins: Callable[[], None] = lambda: None,
        shown: Mapping[str, Any] | None = None,
        context: ToolContext[Any] | None = None,
    ) -> None:
        self._begins = begins
        self._context = context or unattached(use.id, use.name, key)
        self._tool = tool
        self._use = use
        self._bytes_max = _least(tool, bytes_max)
        given = (use.input or {}) if shown is None else shown
        self._bound = functools.partial(
            tool.arguments.bound,
            given,
            key,
            self._context,
            shown=shown is not None,
        )
        self._aside = Aside(self._work, tool.grace_seconds)
        self.ending: Ending | None = None
        """How it ended, as far as that was seen."""

    async def wait(self) -> Ending:
        """Run it within its time; whatever happens becomes its one result.

        Only what is not meant to be caught passes through, and cancellation. `ending`
        then says what was seen nevertheless: a tool that finishes within its grace time
        has finished.
        """
        tool, progress = self._tool, progress_of(self._context)
        progress.begin()
        try:
            await self._aside.wait(tool.timeout_seconds)
        except CancelledItselfError as error:
            self.ending = self._unseen(f"The tool did not end: {error}")
        finally:
            progress.end()
        if self.ending is None:
            self.ending = self._unseen(f"Timed out after {tool.timeout_seconds:g} s")
        return self.ending

    def _unseen(self, said: str) -> Ending:
        return _unseen(self._tool, self._use, said, progress_of(self._context).told)

    @property
    def interrupted(self) -> Ending | None:
        """How a run ended that was stopped: as was seen, or with what it reported; None
        if nothing of it was seen."""
        told = progress_of(self._context).told
        if self.ending is not None or not told:
            return self.ending
        return Ending(Closing.UNKNOWN, closed_result(self._use.id, UNKNOWN + told))

    async def _work(self) -> None:
        self._begins()
        self.ending = await self._attempt()

    async def _attempt(self) -> Ending | None:
        tool, use = self._tool, self._use
        try:
            with own_cancellation():
                return await self._made()
        except CancelledItselfError:
            raise
        except TerminalToolError as error:
            LOG_CALLER.exception(
                "the tool %s failed, and its turn cannot go on", tool.name
            )
            said = words(error)
            return attrs.evolve(_told(use, error), stops=f"{tool.name}: {said}")
        except CorrectableToolError as error:
            return _told(use, error)
        except OutcomeUnknownError as error:
            return self._unseen(words(error))
        except ArgumentsError as error:
            return _error(use, str(error))
        except NoJsonError as error:
            LOG_CALLER.exception("the result of the tool %s cannot be read", tool.name)
            return _error(use, _UNREADABLE.format(error))
        except (Exception, SystemExit) as error:
            if self._aside.stopped:
                return None  # it failed because it was stopped: its progress is unknown
            content = failure_content(error)
            if content is not None:  # the tool means it for the model
                return _error(use, content)
            LOG_CALLER.exception("the tool %s failed; the model is told", tool.name)
            return _error(use, _explain(tool, error))

    async def _made(self) -> Ending:
        """The result of what the tool gives, which is read to its end."""
        tool, aside = self._tool, self._aside
        if tool.is_async:
            value = await called(self._bound())
        else:
            value = await called(self._make_here)
        if isinstance(value, Ending):
            return value
        return self._result(await drained(value, lambda: aside.stopped))

    def _make_here(self) -> object:
        """The same in a thread, or what is left to be awaited and read.

        Serializers and properties of what it gives are code of the tool's, too.
        """
        given, aside = self._bound()(), self._aside
        value = read_here(given, lambda: aside.stopped)
        if isawaitable(value) or isinstance(value, AsyncIterator):
            return cast("object", value)
        return self._result(value)

    def _result(self, value: object) -> Ending:
        if self._tool.from_sdk:
            value = as_blocks(value)
        made = fit_result(self._use.id, value, bytes_max=self._bytes_max)
        return Ending(Closing.RESULT, *made)


async def run_tool(tool: Tool, use: ToolUse, key: str) -> Ending:
    """Run one call within its time; whatever happens becomes its one result.

    Args:
        tool: The tool.
        use: The call; `use.input` is an object.
        key: The call's idempotency key, given to tools that take one.
    """
    return await ToolRun(tool, use, key).wait()


async def shown(
    tool: Tool, use: ToolUse, before: Mapping[str, Any] | None = None
) -> Mapping[str, Any] | Ending:
    """The arguments of a call as they would run, or its ending if they cannot.

    Nothing is awaited, unless code of the caller's may run: validators have the tool's
    time.

    Args:
        tool: The tool.
        use: The call; `use.input` is an object.
        before: The arguments that were shown, if they differ from the model's.
    """
    given = (use.input or {}) if before is None else before
    read = functools.partial(tool.arguments.shown, given, shown=before is not None)
    try:
        if not tool.arguments.runs_code:
            return read()
        found: Mapping[str, Any] = await answered(
            read, seconds=tool.timeout_seconds, grace_seconds=tool.grace_seconds
        )
    except ArgumentsError as error:
        return _error(use, str(error))
    except NoAnswerError as error:
        said = f"Not executed: the arguments of {tool.name} cannot be read: {error}"
        return _error(use, said)
    return found


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
    try:
        value = await answered(
            tool.reconcile,
            key,
            seconds=tool.timeout_seconds,
            grace_seconds=tool.grace_seconds,
        )
        if value is Reconciled.NOT_DONE:
            return Ending(Closing.NOT_EXECUTED, closed_result(use.id, NOT_DONE))
        if value is Reconciled.UNKNOWN or value is None:
            return unknown
        most = _least(tool, bytes_max)
        result, output = await answered(  # making it may run code of the caller's
            lambda: fit_result(use.id, value, bytes_max=most),
            seconds=tool.timeout_seconds,
            grace_seconds=tool.grace_seconds,
        )
    except CorrectableToolError as error:
        return _told(use, error)
    except (Exception, SystemExit):  # who cannot tell has not told
        LOG_CALLER.exception(
            "what became of a call of %s cannot be found out", tool.name
        )
        return unknown
    return Ending(Closing.RESULT, result, output)


async def ruled(tool: Tool, call: ToolCall) -> tuple[bool | None, str]:
    """A tool rule's decision about a call, within the tool's time, and why it denies.

    A rule that fails or does not answer denies: only an approved call runs.
    """
    assert tool.approve is not None, "only a tool with a rule is asked about"
    try:
        said: object = await answered(
            tool.approve,
            call,
            seconds=tool.timeout_seconds,
            grace_seconds=tool.grace_seconds,
        )
    except (Exception, SystemExit) as error:  # a rule that fails says no
        LOG_CALLER.exception("the rule about calls of the tool %s failed", tool.name)
        return (
            False,
            f"the approval itself failed: {words(error) or type(error).__name__}",
        )
    if said is None or isinstance(said, bool):
        return said, "the tool's approval said no"
    return False, f"the approval gave neither yes nor no, but {type(said).__name__}"


def _least(tool: Tool, bytes_max: int | None) -> int:
    """How long a result may be."""
    own = tool.output_bytes_max
    return own if bytes_max is None else min(own, bytes_max)


_UNREADABLE = (
    "The tool ran, but its result cannot be read: {}. It may have had its effect; check"
    " before repeating it."
)


def _unseen(tool: Tool, use: ToolUse, said: str, told: str) -> Ending:
    """A call whose end was not seen: a failure where it only reads, else unknown."""
    if tool.effect == "safe":
        return _error(use, f"{said}.{told}")
    text = (
        f"{said}, outcome unknown: the call may or may not have had its effect; check"
        f" before repeating it.{told}"
    )
    result, _ = fit_result(use.id, text, bytes_max=len(text) * 4, is_error=True)
    return Ending(Closing.UNKNOWN, result)


def _explain(tool: Tool, error: BaseException) -> str:
    said = words(error)
    name = type(error).__name__
    return f"{name}: {said}" if said else f"{name} in tool {tool.name}"


def _told(use: ToolUse, error: CorrectableToolError | TerminalToolError) -> Ending:
    """A tool's text about its failure, word for word; `str` makes it one line.

    A class of the caller's need not have called the constructor of ours.
    """
    message: object = getattr(error, "message", None)
    return _error(use, message if isinstance(message, str) else words(error))


def _error(use: ToolUse, value: object) -> Ending:
    result, output = fit_result(use.id, value, bytes_max=16 * 1024, is_error=True)
    return Ending(Closing.ERROR, result, output)
