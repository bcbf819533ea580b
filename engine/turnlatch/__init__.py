"""turnlatch: a conversation that is never stuck, on an explicit state machine.

`Conversation` and `tool` are all that most programs need; `turnlatch.sync` has the same
conversation without `await`. Everything here is documented where it is defined.
"""

from turnlatch.children import child_tool
from turnlatch.conversation import Conversation
from turnlatch.errors import (
    ApprovalError,
    ChildError,
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
from turnlatch.happenings import (
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
from turnlatch.running import RunningCall, running_call
from turnlatch.settings import Limits
from turnlatch.stream import TurnStream, Watch
from turnlatch.tools import Blocks, Reconciled, Tool, ToolCall, tool
from turnlatch.turn import CallReport, Turn
from turnlatch.world import CompactionDone, CompactionPlan
from turnlatch_states.budget import Price
from turnlatch_states.call import CallState, Closing
from turnlatch_states.faults import Fault, FaultKind, RetryPolicy
from turnlatch_states.remedy import Remedy
from turnlatch_states.room import CompactionPolicy
from turnlatch_states.turn import TurnState

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
