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
    NoCredentialsError,
    NoRunningCallError,
    NotNowError,
    SettingsError,
    StoreLockedError,
    TerminalToolError,
    ToolDefinitionError,
    TurnFailedError,
    TurnlatchError,
    UnknownConversationError,
)
from turnlatch.ports import Clock, Ids, Listing, Model, Store
from turnlatch.result import CallReport, Turn
from turnlatch.settings import Limits
from turnlatch.subagent import ChildError, child_tool
from turnlatch.tools import Blocks, Reconciled, Tool, ToolCall, tool
from turnlatch.tools.definition import Effect
from turnlatch.watching.events import (
    BlockBegan,
    CallMoved,
    Cursor,
    Happening,
    Missed,
    Moved,
    PrefixChanged,
    RemedyTried,
    Steered,
    Suspended,
    TextArrived,
    ThinkingArrived,
    TrialMade,
    TurnEnded,
    Waiting,
)
from turnlatch.watching.stream import TurnStream, Watch
from turnlatch_states.api.faults import Fault, FaultKind, RetryPolicy
from turnlatch_states.api.reply import Reply, ToolUse, Usage
from turnlatch_states.api.rules import Finding
from turnlatch_states.effects.effect import CompactionDone, CompactionPlan
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Lost, Move, Snapshot, Suspension
from turnlatch_states.machine.turn import Substate, TurnState
from turnlatch_states.recovery.budget import Budget, Price
from turnlatch_states.recovery.cache_guard import PrefixChange
from turnlatch_states.recovery.policies import CompactionPolicy
from turnlatch_states.request.history import Exchange, History, Method
from turnlatch_states.request.profile import Cache, Profile, Purpose, Threads

__all__ = [
    "ApprovalError",
    "BlockBegan",
    "Blocks",
    "Budget",
    "Cache",
    "CallMoved",
    "CallReport",
    "CallState",
    "ChildError",
    "Clock",
    "Closing",
    "CompactionDone",
    "CompactionPlan",
    "CompactionPolicy",
    "Conversation",
    "ConversationBusyError",
    "ConversationClosedError",
    "CorrectableToolError",
    "Cursor",
    "DefinitionError",
    "Effect",
    "Exchange",
    "Fault",
    "FaultKind",
    "Finding",
    "ForkedProcessError",
    "Happening",
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
    "Method",
    "Missed",
    "Model",
    "Move",
    "Moved",
    "NoCredentialsError",
    "NoRunningCallError",
    "NotNowError",
    "PrefixChange",
    "PrefixChanged",
    "Price",
    "Profile",
    "Purpose",
    "Reconciled",
    "Remedy",
    "RemedyTried",
    "Reply",
    "RetryPolicy",
    "RunningCall",
    "SettingsError",
    "Snapshot",
    "Steered",
    "Store",
    "StoreLockedError",
    "Substate",
    "Suspended",
    "Suspension",
    "TerminalToolError",
    "TextArrived",
    "ThinkingArrived",
    "Threads",
    "Tool",
    "ToolCall",
    "ToolDefinitionError",
    "ToolUse",
    "TrialMade",
    "Turn",
    "TurnEnded",
    "TurnFailedError",
    "TurnState",
    "TurnStream",
    "TurnlatchError",
    "UnknownConversationError",
    "Usage",
    "Waiting",
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
