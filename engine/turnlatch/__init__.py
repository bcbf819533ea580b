"""turnlatch: conversations that are never stuck, on an explicit state machine.

`Conversation` and `tool` are all that most programs need; `turnlatch.sync` has the same
conversation without `await`. Every name here is documented where it is defined.
"""

from turnlatch.call_context import RunningCall, running_call
from turnlatch.conversation import Conversation
from turnlatch.errors import (
    ApprovalError,
    ConversationBusyError,
    ConversationClosedError,
    CorrectableToolError,
    DefinitionError,
    ForkedProcessError,
    IllegalEventError,
    InsideTurnError,
    JournalCorruptError,
    JournalError,
    JournalFullError,
    JournalVersionError,
    LeaseLostError,
    McpServerError,
    NoCredentialsError,
    NoRunningCallError,
    NotNowError,
    OutcomeUnknownError,
    OutputError,
    SettingsError,
    StoreLockedError,
    TerminalToolError,
    ToolDefinitionError,
    TurnFailedError,
    TurnlatchError,
    TurnNotDoneError,
    UnknownConversationError,
)
from turnlatch.options import TurnSettings
from turnlatch.ports import (
    BlockOpened,
    Clock,
    Ids,
    Listing,
    Model,
    Store,
    TextDelta,
    ThinkingDelta,
)
from turnlatch.result import CallReport, Turn
from turnlatch.settings import Limits
from turnlatch.subagent import ChildError, child_tool
from turnlatch.tools import Blocks, Reconciled, Tool, ToolCall, tool
from turnlatch.tools.context import CallIdentity, ToolContext
from turnlatch.tools.definition import Effect, ToolSource
from turnlatch.tools.sdk_tools import RunnableTool
from turnlatch.watching.events import (
    Arrived,
    Cursor,
    Missed,
    Progressed,
    Recorded,
    StreamEvent,
    TurnEnded,
)
from turnlatch.watching.stream import TurnStream, Watch
from turnlatch_states.api.faults import Fault, FaultKind, RetryPolicy
from turnlatch_states.api.reply import Reply, ToolUse, Usage
from turnlatch_states.api.rules import Finding
from turnlatch_states.effects.effect import CompactionDone, CompactionPlan
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.events import (
    CallApproved,
    CallAsked,
    CallClosed,
    CallDenied,
    CallLost,
    CallStarted,
    CompactionConfirmed,
    CompactionSent,
    ConversationOpened,
    Event,
    Forked,
    Pinned,
    Probed,
    ProfileChanged,
    Question,
    RemedyChosen,
    ReplyConfirmed,
    RequestSent,
    RetryCancelled,
    RetryScheduled,
    Rewound,
    Steered,
    TurnAbandoned,
    TurnContinued,
    TurnFailed,
    TurnOpened,
    TurnRetried,
    TurnSuspended,
)
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Lost, Move, Snapshot, Suspension
from turnlatch_states.machine.turn import Substate, TurnState
from turnlatch_states.recovery.budget import Budget, Price
from turnlatch_states.recovery.cache_guard import PrefixChange
from turnlatch_states.recovery.policies import CompactionPolicy
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import Exchange, History, Method
from turnlatch_states.request.profile import Cache, Profile, Purpose, Threads
from turnlatch_states.request.view import View

__all__ = [
    "ApprovalError",
    "Arrived",
    "BlockOpened",
    "Blocks",
    "Budget",
    "Cache",
    "CallApproved",
    "CallAsked",
    "CallClosed",
    "CallDenied",
    "CallIdentity",
    "CallLost",
    "CallReport",
    "CallStarted",
    "CallState",
    "ChildError",
    "Clock",
    "Closing",
    "CompactionConfirmed",
    "CompactionDone",
    "CompactionPlan",
    "CompactionPolicy",
    "CompactionSent",
    "Conversation",
    "ConversationBusyError",
    "ConversationClosedError",
    "ConversationOpened",
    "Copy",
    "CorrectableToolError",
    "Cursor",
    "DefinitionError",
    "Effect",
    "Event",
    "Exchange",
    "Fault",
    "FaultKind",
    "Finding",
    "Forked",
    "ForkedProcessError",
    "History",
    "Ids",
    "IllegalEventError",
    "InsideTurnError",
    "JournalCorruptError",
    "JournalError",
    "JournalFullError",
    "JournalVersionError",
    "LeaseLostError",
    "Limits",
    "Listing",
    "Lost",
    "McpServerError",
    "Method",
    "Missed",
    "Model",
    "Move",
    "NoCredentialsError",
    "NoRunningCallError",
    "NotNowError",
    "OutcomeUnknownError",
    "OutputError",
    "Pinned",
    "PrefixChange",
    "Price",
    "Probed",
    "Profile",
    "ProfileChanged",
    "Progressed",
    "Purpose",
    "Question",
    "Reconciled",
    "Recorded",
    "Remedy",
    "RemedyChosen",
    "Reply",
    "ReplyConfirmed",
    "RequestSent",
    "RetryCancelled",
    "RetryPolicy",
    "RetryScheduled",
    "Rewound",
    "RunnableTool",
    "RunningCall",
    "SettingsError",
    "Snapshot",
    "Steered",
    "Store",
    "StoreLockedError",
    "StreamEvent",
    "Substate",
    "Suspension",
    "TerminalToolError",
    "TextDelta",
    "ThinkingDelta",
    "Threads",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolDefinitionError",
    "ToolSource",
    "ToolUse",
    "Turn",
    "TurnAbandoned",
    "TurnContinued",
    "TurnEnded",
    "TurnFailed",
    "TurnFailedError",
    "TurnNotDoneError",
    "TurnOpened",
    "TurnRetried",
    "TurnSettings",
    "TurnState",
    "TurnStream",
    "TurnSuspended",
    "TurnlatchError",
    "UnknownConversationError",
    "Usage",
    "View",
    "Watch",
    "__version__",
    "child_tool",
    "running_call",
    "tool",
]

__version__: str


def __getattr__(name: str) -> str:
    # Looked up when it is asked for: reading the metadata costs more than most imports.
    if name == "__version__":
        from importlib.metadata import version

        return version("turnlatch")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
