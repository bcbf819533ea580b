"""The table of the gauntlet: the classes of failure that a conversation must survive.

A class is a way in which conversation engines lost, locked or misreported conversations
in public. Its file is `test_<name with underscores>.py`, and that file's docstring says
the law and the reports. `python -m tests.gauntlet` fails if a class has no file.
"""

from enum import StrEnum
from pathlib import Path
from typing import final

import attrs

HERE = Path(__file__).parent
HARNESS = frozenset(
    {
        "test_scenario.py",
        "test_classes.py",
        "test_fuzz.py",
        "test_fuzz_planted.py",
        "test_outages.py",
        "test_poison.py",
    }
)
"""Tests of the gauntlet itself; they are no class."""


class Group(StrEnum):
    """Which of the two promises a class puts to the test."""

    STUCK = "never stuck"
    """The next ordinary message is confirmed, and what was confirmed is still there."""
    EFFECTS = "effects tell the truth"
    """What ran, ran as often as is told, through crashes, tools, approvals, writers."""


LAWS = {
    1: "confirm, then commit",
    2: "closed pairs",
    3: "sealed bytes",
    4: "legal by construction",
    5: "compaction is a copy, then one swap",
    6: "one writer, stamped events",
    7: "journal first, load read-only",
    8: "intent and outcome for effects",
    9: "one owner of retries",
    10: "bounds",
    11: "references are hints, identity is data",
    12: "failures leave no trace, waits are states",
}
"""The laws of `docs/design.md`, by number."""


@final
@attrs.frozen
class FailureClass:
    """One row.

    Attributes:
        rank: 1 for the class with the most and the worst reports.
        name: Its name, in words joined by hyphens.
        law: Number of the law that rules it out.
        group: The promise it puts to the test.
    """

    rank: int
    name: str
    law: int
    group: Group

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"test_{self.name.replace('-', '_')}.py"


_S, _E = Group.STUCK, Group.EFFECTS

_ROWS: tuple[tuple[str, int, Group], ...] = (
    ("orphan-tool-use", 2, _E),
    ("orphan-tool-result-after-trim", 2, _S),
    ("thinking-integrity", 3, _S),
    ("server-tool-block-split", 2, _S),
    ("poison-media", 4, _S),
    ("compaction-failure-destroys-or-locks", 5, _S),
    ("compaction-deadlock", 5, _S),
    ("optimistic-id-pointer", 1, _S),
    ("resume-reconstruction-wrong", 7, _S),
    ("midstream-partial-committed", 1, _S),
    ("concurrent-writers", 6, _E),
    ("torn-or-corrupt-log", 7, _E),
    ("compaction-information-loss", 5, _S),
    ("truncated-or-invalid-tool-input", 1, _E),
    ("stream-stall-hang", 9, _S),
    ("compaction-loop", 5, _S),
    ("interrupt-scope", 7, _E),
    ("tool-failure-without-result", 2, _E),
    ("late-aggregate-limits", 10, _S),
    ("oversize-tool-output", 10, _S),
    ("server-reference-gone", 11, _S),
    ("subagent-work-lost", 8, _E),
    ("empty-or-whitespace-content", 4, _S),
    ("foreign-opaque-content", 3, _S),
    ("stop-reason-mishandled", 1, _S),
    ("token-accounting", 10, _S),
    ("ends-on-assistant", 4, _S),
    ("huge-log-and-quadratic-growth", 7, _S),
    ("config-or-model-lost-on-resume", 11, _S),
    ("double-submit", 6, _E),
    ("parallel-results-layout", 2, _E),
    ("request-builder-fault", 4, _S),
    ("stale-lock-or-busy", 6, _E),
    ("cache-control-rules", 4, _S),
    ("recovery-keyed-on-text", 9, _S),
    ("tools-lost-in-session", 8, _E),
    ("output-not-valid-as-input", 4, _S),
    ("database-store-corruption", 7, _S),
    ("deterministic-error-retried", 9, _S),
    ("invalid-unicode", 4, _S),
    ("side-effect-replay", 8, _E),
    ("midstream-not-recovered", 1, _S),
    ("pause-turn", 1, _S),
    ("resume-cache-invalidation", 3, _S),
    ("fork-mistakes", 7, _E),
    ("missing-message-stop", 1, _S),
    ("pending-approval", 6, _E),
    ("retention-deletes-history", 7, _S),
    ("retry-amplification", 9, _S),
    ("auth-midturn", 12, _S),
    ("cwd-moved", 11, _S),
    ("upgrade-or-migration", 7, _S),
    ("billing-or-limit", 12, _S),
    ("fallback-breaks-turn", 9, _E),
)

CLASSES = tuple(
    FailureClass(rank, name, law, group)
    for rank, (name, law, group) in enumerate(_ROWS, start=1)
)
"""Every class, worst first. A class is added here and never taken out."""
