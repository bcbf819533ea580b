"""turnlatch: a conversation that is never stuck, on an explicit state machine.

`Conversation` and `tool` are all that most programs need; `turnlatch.sync` has the same
conversation without `await`. Everything here is documented where it is defined.
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
    SettingsError,
    StoreLockedError,
    TerminalToolError,
    ToolDefinitionError,
    TurnFailedError,
    TurnlatchError,
    UnknownConversationError,
)
from turnlatch.result import CallReport, Turn
from turnlatch.runtime.environment import CompactionDone, CompactionPlan
from turnlatch.settings import Limits
from turnlatch.subagent import ChildError, child_tool
from turnlatch.tools import Blocks, Reconciled, Tool, ToolCall, tool
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
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.turn import TurnState
from turnlatch_states.recovery.budget import Price
from turnlatch_states.recovery.context_window import CompactionPolicy

__all__ = [
    "ApprovalError",
    "BlockBegan",
    "Blocks",
    "CallMoved",
    "CallReport",
    "CallState",
    "ChildError",
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
    "Fault",
    "FaultKind",
    "ForkedProcessError",
    "Happening",
    "IllegalEventError",
    "InsideTurnError",
    "JournalCorruptError",
    "JournalError",
    "JournalFullError",
    "JournalVersionError",
    "LeaseLostError",
    "Limits",
    "Missed",
    "Moved",
    "NoCredentialsError",
    "NoRunningCallError",
    "PrefixChanged",
    "Price",
    "Reconciled",
    "Remedy",
    "RemedyTried",
    "RetryPolicy",
    "RunningCall",
    "SettingsError",
    "Steered",
    "StoreLockedError",
    "Suspended",
    "TerminalToolError",
    "TextArrived",
    "ThinkingArrived",
    "Tool",
    "ToolCall",
    "ToolDefinitionError",
    "TrialMade",
    "Turn",
    "TurnEnded",
    "TurnFailedError",
    "TurnState",
    "TurnStream",
    "TurnlatchError",
    "UnknownConversationError",
    "Waiting",
    "Watch",
    "child_tool",
    "running_call",
    "tool",
]
