"""detent: a conversation that is never stuck, on an explicit state machine.

`Conversation` and `tool` are all that most programs need; `detent.sync` has the same
conversation without `await`. Everything here is documented where it is defined.
"""

from detent.children import child_tool
from detent.conversation import Conversation
from detent.errors import (
    ApprovalError,
    ChildError,
    ConversationBusyError,
    ConversationClosedError,
    CorrectableToolError,
    DefinitionError,
    DetentError,
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
    UnknownConversationError,
)
from detent.happenings import (
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
from detent.running import RunningCall, running_call
from detent.settings import Limits
from detent.stream import TurnStream, Watch
from detent.tools import Blocks, Reconciled, Tool, ToolCall, tool
from detent.turn import CallReport, Turn
from detent.world import CompactionDone, CompactionPlan
from detent_states.budget import Price
from detent_states.call import CallState, Closing
from detent_states.faults import Fault, FaultKind, RetryPolicy
from detent_states.remedy import Remedy
from detent_states.room import CompactionPolicy
from detent_states.turn import TurnState

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
    "DetentError",
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
    "UnknownConversationError",
    "Waiting",
    "Watch",
    "child_tool",
    "running_call",
    "tool",
]
