"""Testing agents: a strict Messages API with a verdict, effects as an oracle, and fakes.

With the extra `testing`, pytest finds the fixtures `messages_api` and `effects` by itself.
The table of what a verdict names is `DEFECTS`; docs/testing.md prints it.
"""

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
from turnlatch.testing.verdict import Verdict, judge

__all__ = [
    "DEFECTS",
    "EFFECTS_FILE",
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
    "SeededIds",
    "SkippingClock",
    "Verdict",
    "VirtualClock",
    "judge",
]
