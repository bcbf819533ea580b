"""Testing agents: a strict Messages API with a verdict, effects as an oracle, and fakes.

With the extra `testing`, pytest finds the fixtures `messages_api` and `effects` by itself.
The table of what a verdict names is `DEFECTS`; docs/testing.md prints it.
"""

import importlib
from typing import TYPE_CHECKING

from turnlatch.testing.agents import (
    Agent,
    AgentDefectError,
    AgentWorld,
    ProcessDiedError,
)
from turnlatch.testing.break_search import replay_command
from turnlatch.testing.command_agent import CommandAgent
from turnlatch.testing.conformity import (
    Nonconformity,
    NonconformityKind,
    conforms,
)
from turnlatch.testing.crashable_store import CrashableStore
from turnlatch.testing.defects import DEFECTS, Defect, DefectKind, DefectRow
from turnlatch.testing.effects import (
    EFFECTS_FILE,
    Done,
    EffectError,
    EffectFault,
    Effects,
    EffectsError,
)
from turnlatch.testing.fakes import SeededIds, VirtualClock
from turnlatch.testing.messages_api import (
    FaultsNotMetError,
    MessagesApi,
    SkippingClock,
)
from turnlatch.testing.moves import FAULTS
from turnlatch.testing.oracle import accepts
from turnlatch.testing.shortest_paths import Coverage, Paths, coverage, paths
from turnlatch.testing.summary import MachineSummary
from turnlatch.testing.verdict import Verdict, judge

if TYPE_CHECKING:
    from turnlatch.testing import strategies
    from turnlatch.testing.conversation_machine import TurnlatchMachine
    from turnlatch.testing.machine import ConversationMachine
    from turnlatch.testing.table_machine import (
        ArrangingDriver,
        TableDriver,
        TableMachine,
        TableMismatchError,
    )

__all__ = [
    "DEFECTS",
    "EFFECTS_FILE",
    "FAULTS",
    "Agent",
    "AgentDefectError",
    "AgentWorld",
    "ArrangingDriver",
    "CommandAgent",
    "ConversationMachine",
    "Coverage",
    "CrashableStore",
    "Defect",
    "DefectKind",
    "DefectRow",
    "Done",
    "EffectError",
    "EffectFault",
    "Effects",
    "EffectsError",
    "FaultsNotMetError",
    "MachineSummary",
    "MessagesApi",
    "Nonconformity",
    "NonconformityKind",
    "Paths",
    "ProcessDiedError",
    "SeededIds",
    "SkippingClock",
    "TableDriver",
    "TableMachine",
    "TableMismatchError",
    "TurnlatchMachine",
    "Verdict",
    "VirtualClock",
    "accepts",
    "conforms",
    "coverage",
    "judge",
    "paths",
    "replay_command",
    "strategies",
]

_NEED_HYPOTHESIS = {
    "ArrangingDriver": "turnlatch.testing.table_machine",
    "ConversationMachine": "turnlatch.testing.machine",
    "TableDriver": "turnlatch.testing.table_machine",
    "TableMachine": "turnlatch.testing.table_machine",
    "TableMismatchError": "turnlatch.testing.table_machine",
    "TurnlatchMachine": "turnlatch.testing.conversation_machine",
    "strategies": "turnlatch.testing.strategies",
}
"""By name, the module that is imported when the name is asked for."""


def __getattr__(name: str) -> object:
    """Import what needs Hypothesis when it is asked for."""
    if name not in _NEED_HYPOTHESIS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(_NEED_HYPOTHESIS[name])
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"{name} needs Hypothesis: pip install 'turnlatch[testing]'"
        ) from missing
    found: object = module if name == "strategies" else getattr(module, name)
    return found
