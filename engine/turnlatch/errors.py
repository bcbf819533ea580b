"""The engine's errors: `TurnlatchError`s with fields. `fsm.errors` has the core's."""

from turnlatch_states.api.faults import Fault
from turnlatch_states.fsm.errors import (
    CoreBugError,
    DefinitionError,
    IllegalEventError,
    SettingsError,
    TurnlatchError,
)


def words(error: BaseException) -> str:
    """The text of an exception. Never raises.

    An exception's `__str__` is the caller's code, and may itself fail.
    """
    try:
        return str(error)
    except Exception as failed:  # noqa: BLE001 - the failure is reported as the text
        return f"(no text: its __str__ raised {type(failed).__name__})"


class NoCredentialsError(SettingsError):
    """No credentials for the API were found, so nothing was opened or sent.

    Attributes:
        unusable: True if credentials are set but cannot be used; False if none are set.
    """

    def __init__(self, problem: str, *, unusable: bool = False) -> None:
        super().__init__(
            "client",
            problem,
            "set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN, or give"
            ' client=anthropic.AsyncAnthropic(api_key=...); client="simulator" gives'
            " invented answers",
        )
        self.args = (problem,)  # a copy is made from these
        self.unusable = unusable


class ToolDefinitionError(SettingsError):
    """A function cannot be offered as a tool.

    Attributes:
        tool: The function's name.
        setting: The option at fault; `function` for the function itself.
        problem: The fault in its signature or options.
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
    """A rule, hook or `reconcile` did not answer in time.

    Attributes:
        seconds: Its time limit.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def _told(self) -> str:
        return f"no answer within {self.seconds:g} s"


class CancelledItselfError(TurnlatchError):
    """The caller's code was cancelled by something it awaited; turnlatch did not stop it."""

    def _told(self) -> str:
        return "cancelled by something it awaited; turnlatch did not stop it"


class CorrectableToolError(TurnlatchError):
    """Raised by a tool: the call failed, and the model may correct it.

    The model gets the message as the call's result. Of any other exception it gets the
    type's name and the text.

    Attributes:
        message: The text for the model, passed on word for word.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def _told(self) -> str:
        return self.message


class OutcomeUnknownError(TurnlatchError):
    """Raised by a tool: it cannot tell whether the call had its effect.

    The call is closed as one whose outcome is unknown, or, if the tool only reads, as one
    that failed. A tool with `reconcile` is asked first.

    Attributes:
        message: The reason, one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def _told(self) -> str:
        return self.message


class McpServerError(TurnlatchError):
    """An MCP server cannot be reached, or lists tools that cannot be offered.

    Attributes:
        server: The server.
        problem: The problem with it.
    """

    def __init__(self, server: str, problem: str) -> None:
        super().__init__(server, problem)
        self.server = server
        self.problem = problem

    def _told(self) -> str:
        return f"{self.server}: {self.problem}"


class TerminalToolError(TurnlatchError):
    """Raised by a tool: the call failed, and the turn cannot go on.

    The call is closed with the message as its result, the other calls of the reply run
    to completion, and the turn rests in `failed` with a fault of kind `tool`.

    Attributes:
        message: The call's result, which the model gets when the conversation goes on.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def _told(self) -> str:
        return self.message


class NoRunningCallError(TurnlatchError):
    """`running_call()` was used outside a tool call, for example in a plain function call."""

    def _told(self) -> str:
        return "no tool call is running here; let a conversation call the tool"


class NotNowError(IllegalEventError):
    """The conversation's present state does not allow the method; nothing was changed.

    Attributes:
        method: The method.
        problem: Why it is not possible now.
        remedy: What to do.
    """

    def __init__(
        self, method: str, state: str, problem: str, remedy: str, *legal: str
    ) -> None:
        super().__init__("conversation", state, method, legal)
        self.args = (
            method,
            state,
            problem,
            remedy,
            *legal,
        )  # a copy is made from these
        self.method = method
        self.problem = problem
        self.remedy = remedy

    def _told(self) -> str:
        return f"{self.problem}; {self.remedy}"


def already_open(name: str) -> NotNowError:
    """The error for entering a conversation that is open."""
    return NotNowError(
        "enter",
        "open",
        f"conversation {name!r} is already open",
        "close() it first",
        "close",
    )


class InsideTurnError(IllegalEventError):
    """A method was called from inside the turn that it would have to wait for.

    A tool, a hook, an approval rule and every task or thread that they start run inside
    the turn that called them. The method did not start, and nothing was changed.

    Attributes:
        method: The method.
    """

    def __init__(self, state: str, method: str) -> None:
        legal = ("steer", "pin", "unpin", "interrupt")
        super().__init__("conversation", state, method, legal)
        self.args = (state, method)  # a copy is made from these
        self.method = method

    def _told(self) -> str:
        return (
            f"{self.method}() was called from inside a running turn of the same"
            " conversation (by a tool, a hook or an approval rule) and would wait for"
            " that turn forever; nothing was changed; call it when the turn is over,"
            f" or use a method that works inside: {', '.join(self.legal)}"
        )


class ApprovalError(TurnlatchError):
    """An approval does not count: the call has changed, or its question has expired.

    Attributes:
        call: The `tool_use` id.
        problem: Why the approval does not count.
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
        name: The conversation's name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def _told(self) -> str:
        return (
            f"conversation {self.name!r} is not open: it was never entered, or it was"
            " closed; enter it with `async with` (`with` for turnlatch.sync)"
        )


class ForkedProcessError(TurnlatchError):
    """A forked process used a `turnlatch.sync` conversation that its parent opened.

    The engine runs in a thread of the parent, which a fork does not copy. Nothing was
    done, and the parent's conversation is unchanged.

    Attributes:
        name: The conversation's name.
        opened_by: Id of the process that opened it.
    """

    def __init__(self, name: str, opened_by: int) -> None:
        super().__init__(name, opened_by)
        self.name = name
        self.opened_by = opened_by

    def _told(self) -> str:
        return (
            f"conversation {self.name!r} was opened by process {self.opened_by}, and this"
            " process is a fork of it; use the conversation there, or open one here in a"
            " store that the parent does not have open; a process started with `spawn`"
            " can open any store"
        )


class JournalError(TurnlatchError):
    """A store or a journal failed, or is not safe to use.

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
    """The record contradicts its digests; it was neither used nor changed."""


class JournalVersionError(JournalError):
    """The file was written by a newer turnlatch, or is not a turnlatch store."""


class JournalFullError(JournalError):
    """The disk is full or a size limit was reached; nothing was appended."""


class UnknownConversationError(JournalError):
    """The store has no conversation of that name."""


class ConversationBusyError(JournalError):
    """A live process holds the conversation's lease; nothing was sent.

    Attributes:
        seconds: Seconds until the holder's lease ends if it is not renewed; then the
            conversation can be taken. None if the holder is in this process.
    """

    def __init__(
        self, where: str, problem: str, remedy: str, *, seconds: float | None = None
    ) -> None:
        super().__init__(where, problem, remedy)
        self.seconds = seconds


class StoreLockedError(JournalError):
    """Another process has locked the store; nothing was changed.

    Attributes:
        holder: That process, in words; None if the system does not say.
        seconds: How long turnlatch waited; 0 if it did not.
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
        """The same error, after waiting so many seconds."""
        return StoreLockedError(
            self.where, self.problem, self.remedy, holder=self.holder, seconds=seconds
        )

    def _told(self) -> str:
        waited = f" (waited {self.seconds:g} s)" if self.seconds else ""
        return f"{self.where}: {self.problem}{waited}; {self.remedy}"


class LeaseLostError(JournalError):
    """A newer writer holds the conversation; this handle can no longer append."""


class TurnFailedError(TurnlatchError):
    """A turn stopped before it was done; raised by `Turn.raise_for_failure`.

    Attributes:
        turn: The turn's number; 0 if no turn began.
        fault: Why it stopped.
        exchanges: Number of confirmed exchanges in the history.
    """

    def __init__(self, turn: int, fault: Fault, exchanges: int) -> None:
        super().__init__(turn, fault, exchanges)
        self.turn = turn
        self.fault = fault
        self.exchanges = exchanges

    def _told(self) -> str:
        kept = f"history keeps its {self.exchanges} confirmed exchange(s)"
        if not self.turn:
            return f"no turn began: {self.fault}; {kept}; send() the message again"
        return (
            f"turn {self.turn} failed: {self.fault}; {kept}; retry(), abandon(), or"
            " send() something else"
        )


class TurnNotDoneError(TurnlatchError):
    """A turn has no answer yet: it runs, or a person has to decide about its calls.

    Attributes:
        turn: The turn's number.
        state: Where it stands.
        waiting: The ids of the calls that wait for a decision.
    """

    def __init__(self, turn: int, state: str, waiting: tuple[str, ...]) -> None:
        super().__init__(turn, state, waiting)
        self.turn = turn
        self.state = state
        self.waiting = waiting

    def _told(self) -> str:
        said = f"turn {self.turn} has no answer yet: it is {self.state}"
        if not self.waiting:
            return f"{said}; wait for it, or read Turn.replies"
        calls = ", ".join(self.waiting)
        return f"{said}, and these calls wait for approve() or deny(): {calls}"


class OutputError(TurnlatchError):
    """A reply is not the output that was asked for.

    Attributes:
        turn: The turn's number.
        problem: The differences, one a line.
    """

    def __init__(self, turn: int, problem: str) -> None:
        super().__init__(turn, problem)
        self.turn = turn
        self.problem = problem

    def _told(self) -> str:
        return (
            f"the reply of turn {self.turn} is not the output asked for: {self.problem};"
            " Turn.text has its text; send(..., output=...) asks again"
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
    "NotNowError",
    "OutputError",
    "SettingsError",
    "StoreLockedError",
    "TerminalToolError",
    "ToolDefinitionError",
    "TurnFailedError",
    "TurnNotDoneError",
    "TurnlatchError",
    "UnknownConversationError",
]
