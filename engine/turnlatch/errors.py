"""Errors of the engine. All of them are `TurnlatchError`s with fields; see the core's too."""

from turnlatch_states.api.faults import Fault
from turnlatch_states.fsm.errors import (
    CoreBugError,
    DefinitionError,
    IllegalEventError,
    SettingsError,
    TurnlatchError,
)


def words(error: BaseException) -> str:
    """What an exception says; never an exception of its own.

    The text of an exception is code of whoever wrote it, and may fail as any other.
    """
    try:
        return str(error)
    except Exception as failed:  # noqa: BLE001 - it cannot say it: that is what is told
        return f"(it has no text, because of an exception: {type(failed).__name__})"


class NoCredentialsError(SettingsError):
    """There are no credentials for the API, so nothing was opened and nothing sent.

    Attributes:
        unusable: Some are set, and cannot be used; False where nothing is set.
    """

    def __init__(self, problem: str, *, unusable: bool = False) -> None:
        super().__init__(
            "client",
            problem,
            "set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, or give"
            ' client=anthropic.AsyncAnthropic(api_key=...); client="simulator" asks for'
            " answers that are made up",
        )
        self.args = (problem,)  # what a copy is made from
        self.unusable = unusable


class ToolDefinitionError(SettingsError):
    """A function cannot be offered as a tool.

    Attributes:
        tool: Its name.
        setting: Which option it is about; `function` for the function itself.
        problem: What is wrong with its signature or its options.
        remedy: What to change.
    """

    def __init__(
        self, tool: str, problem: str, remedy: str, setting: str = "function"
    ) -> None:
        super().__init__(setting, problem, remedy)
        self.args = (tool, problem, remedy, setting)
        self.tool = tool

    def _told(self) -> str:
        return f"tool {self.tool!r}: {self.problem}; {self.remedy}"


class NoAnswerError(TurnlatchError):
    """A function that was asked did not answer in its time.

    Attributes:
        seconds: How long it had.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def _told(self) -> str:
        return f"no answer within {self.seconds:g} s"


class CancelledItselfError(TurnlatchError):
    """Code was cancelled from within: nobody stopped it, what it waited for was."""

    def _told(self) -> str:
        return "it was cancelled from within, by what it waited for; nobody stopped it"


class CorrectableToolError(TurnlatchError):
    """Raised by a tool: the call failed, and the model is told how, to do better.

    Any other exception is told the same way, with its type's name before it.

    Attributes:
        message: What the model is told, word for word.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def _told(self) -> str:
        return self.message


class TerminalToolError(TurnlatchError):
    """Raised by a tool: the call failed, and the turn cannot go on.

    The call is closed with the message as its result, the other calls of the reply come
    to their ends, and the turn rests in `failed` with a fault of kind `tool`.

    Attributes:
        message: What the model is told once the conversation goes on.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def _told(self) -> str:
        return self.message


class NoRunningCallError(TurnlatchError):
    """Nothing runs for a call here: the tool was called as the function it is."""

    def _told(self) -> str:
        return "no call runs here; a conversation has to call the tool"


class InsideTurnError(IllegalEventError):
    """A method was called from inside the work that it would have to wait for.

    A tool, a hook, an approval rule and every task or thread that they start run inside
    the turn that called them. The method was not begun, and nothing was changed.

    Attributes:
        method: The method.
    """

    def __init__(self, state: str, method: str) -> None:
        legal = ("steer", "pin", "unpin", "interrupt")
        super().__init__("conversation", state, method, legal)
        self.args = (state, method)  # what makes the same error again
        self.method = method

    def _told(self) -> str:
        return (
            f"{self.method}() was called from inside a running turn of the same"
            " conversation (by a tool, a hook or an approval rule), and would wait for"
            " that turn for ever; nothing was changed; call it when the turn is over,"
            f" or use what works inside: {', '.join(self.legal)}"
        )


class ApprovalError(TurnlatchError):
    """An answer that does not count: the question was another one, or is over.

    Attributes:
        call: The `tool_use` id.
        problem: Why it does not count.
        remedy: What to do now.
    """

    def __init__(self, call: str, problem: str, remedy: str) -> None:
        super().__init__(call, problem, remedy)
        self.call = call
        self.problem = problem
        self.remedy = remedy

    def _told(self) -> str:
        return f"call {self.call}: {self.problem}; {self.remedy}"


class ConversationClosedError(TurnlatchError):
    """The conversation is not open: not entered yet, or closed. Nothing was sent or lost.

    Attributes:
        name: The conversation.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def _told(self) -> str:
        return (
            f"conversation {self.name!r} is not open: it was not entered, or it was"
            " closed; enter it with `async with` (`with` for turnlatch.sync) to go on"
        )


class ForkedProcessError(TurnlatchError):
    """A conversation of `turnlatch.sync` that was opened before this process was forked off.

    Its engine runs in a thread of the parent, which a fork does not copy. Nothing was
    done here, and the conversation of the parent is as it was.

    Attributes:
        name: The conversation.
        opened_by: The process that opened it.
    """

    def __init__(self, name: str, opened_by: int) -> None:
        super().__init__(name, opened_by)
        self.name = name
        self.opened_by = opened_by

    def _told(self) -> str:
        return (
            f"conversation {self.name!r} was opened by process {self.opened_by}, and this"
            " process was forked off it; use it there, or open a conversation here, in a"
            " store that the parent does not have open; processes started with `spawn`"
            " can open any"
        )


class JournalError(TurnlatchError):
    """A store or a journal failed, or must not be used as it is.

    Attributes:
        where: The store or the conversation, as the caller named it.
        problem: What happened.
        remedy: What to do.
        outcome_unknown: True if an append may or may not have become durable.
    """

    def __init__(
        self, where: str, problem: str, remedy: str, outcome_unknown: bool = False
    ) -> None:
        super().__init__(where, problem, remedy, outcome_unknown)
        self.where = where
        self.problem = problem
        self.remedy = remedy
        self.outcome_unknown = outcome_unknown

    def _told(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


class JournalCorruptError(JournalError):
    """The record contradicts its own digests: it is not read and not touched."""


class JournalVersionError(JournalError):
    """The record was written by a newer turnlatch, or is no turnlatch store at all."""


class JournalFullError(JournalError):
    """There is no room to append; nothing was appended."""


class UnknownConversationError(JournalError):
    """There is no conversation of that name."""


class ConversationBusyError(JournalError):
    """Somebody alive writes this conversation; nothing was sent.

    Attributes:
        seconds: How long the holder's lease still lasts if it is not renewed: after that
            the conversation can be taken. None where the holder is in this process and
            its store is in memory.
    """

    def __init__(
        self, where: str, problem: str, remedy: str, *, seconds: float | None = None
    ) -> None:
        super().__init__(where, problem, remedy)
        self.seconds = seconds


class StoreLockedError(JournalError):
    """Another process has the store locked; nothing was changed.

    Attributes:
        holder: That process, in words; None where the system does not tell.
        seconds: How long it was waited for; 0 where nobody waited.
    """

    def __init__(
        self,
        where: str,
        problem: str,
        remedy: str,
        *,
        holder: str | None = None,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(where, problem, remedy)
        self.holder = holder
        self.seconds = seconds

    def after(self, seconds: float) -> "StoreLockedError":
        """The same, once the store was waited for so long."""
        return StoreLockedError(
            self.where, self.problem, self.remedy, holder=self.holder, seconds=seconds
        )

    def _told(self) -> str:
        waited = f" (for {self.seconds:g} s now)" if self.seconds else ""
        return f"{self.where}: {self.problem}{waited}; {self.remedy}"


class LeaseLostError(JournalError):
    """A newer writer holds the conversation; this handle appends nothing any more."""


class TurnFailedError(TurnlatchError):
    """A turn stopped before it was done; see `Turn.raise_for_failure`.

    Attributes:
        turn: Its number; 0 if none began.
        fault: What happened.
        exchanges: How many confirmed exchanges the history has.
    """

    def __init__(self, turn: int, fault: Fault, exchanges: int) -> None:
        super().__init__(turn, fault, exchanges)
        self.turn = turn
        self.fault = fault
        self.exchanges = exchanges

    def _told(self) -> str:
        kept = f"history keeps its {self.exchanges} confirmed exchange(s)"
        if not self.turn:
            return f"no turn began: {self.fault}; {kept}; send() it again"
        return (
            f"turn {self.turn} failed: {self.fault}; {kept}; retry(), abandon(), or"
            " send() something else"
        )


__all__ = [
    "ApprovalError",
    "ConversationBusyError",
    "ConversationClosedError",
    "CoreBugError",
    "CorrectableToolError",
    "DefinitionError",
    "ForkedProcessError",
    "IllegalEventError",
    "InsideTurnError",
    "JournalCorruptError",
    "JournalError",
    "JournalFullError",
    "JournalVersionError",
    "LeaseLostError",
    "NoRunningCallError",
    "SettingsError",
    "StoreLockedError",
    "TerminalToolError",
    "ToolDefinitionError",
    "TurnFailedError",
    "TurnlatchError",
    "UnknownConversationError",
]
