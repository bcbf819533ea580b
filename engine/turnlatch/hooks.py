"""The hooks around a compaction: what they are told, and what they may answer."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from turnlatch_states.effects.effect import CompactionDone, CompactionPlan, Verdict

BeforeCompaction: TypeAlias = Callable[[CompactionPlan], Verdict | Awaitable[Verdict]]
AfterCompaction: TypeAlias = Callable[[CompactionDone], Awaitable[None] | None]
