"""The hooks around a compaction: their arguments and their answers."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from turnlatch_states.effects.effect import CompactionDone, CompactionPlan, Verdict

BeforeCompaction: TypeAlias = Callable[[CompactionPlan], Verdict | Awaitable[Verdict]]
AfterCompaction: TypeAlias = Callable[[CompactionDone], Awaitable[None] | None]
