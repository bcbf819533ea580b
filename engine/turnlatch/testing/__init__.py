"""Testing agents: a strict Messages API with a verdict, effects as an oracle, and fakes.

With the extra `testing`, pytest finds the fixtures `messages_api` and `effects` by itself.
The table of what a verdict names is `DEFECTS`; docs/testing.md prints it.
"""

from typing import TYPE_CHECKING

from turnlatch.testing.agents import Agent, AgentWorld, ProcessDiedError
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
from turnlatch.testing.shortest_paths import Coverage, Paths, coverage, paths
from turnlatch.testing.verdict import Verdict, judge

if TYPE_CHECKING:
    from turnlatch.testing.machine import AgentDefectError, ConversationMachine

__all__ = [
    "DEFECTS",
    "EFFECTS_FILE",
    "FAULTS",
    "Agent",
    "AgentDefectError",
    "AgentWorld",
    "ConversationMachine",
    "Coverage",
    "Defect",
    "DefectKind",
    "DefectRow",
    "Done",
    "EffectError",
    "EffectFault",
    "Effects",
    "EffectsError",
    "FaultsNotMetError",
    "MessagesApi",
    "Paths",
    "ProcessDiedError",
    "SeededIds",
    "SkippingClock",
    "Verdict",
    "VirtualClock",
    "coverage",
    "judge",
    "paths",
]

_NEED_HYPOTHESIS = frozenset({"AgentDefectError", "ConversationMachine"})


def __getattr__(name: str) -> object:
    """Import what needs Hypothesis when it is asked for."""
    if name not in _NEED_HYPOTHESIS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from turnlatch.testing import machine
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"{name} needs Hypothesis: pip install 'turnlatch[testing]'"
        ) from missing
    found: object = getattr(machine, name)
    return found
