"""A test's runs in figures: moves, requests, faults, defects, and the parts of a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, final

import attrs

from turnlatch.simulator import LoggedRequest
from turnlatch.simulator.wire import Json, blocks, objects
from turnlatch.testing.report import within
from turnlatch.testing.shortest_paths import Coverage, TablePath, coverage
from turnlatch.testing.verdict import Verdict
from turnlatch_states.fsm.table import Table

_FAULT_MAX: Final = 40


@final
@attrs.frozen
class MachineSummary:
    """The last test of a machine in figures; `str` is what the test prints.

    Attributes:
        machine: The machine's name.
        moves: How often each move was made, the most frequent ones first.
        runs: How many runs the test had.
        discarded: How many of them Hypothesis threw away, because an `assume` of your
            own did not hold; the machine itself discards none.
        seconds: How long it took.
        requests: How many requests of each kind there were: `with a text`, `with
            results`, and `repeated`: the same as the one before.
        faults: How often each fault was met, by its text.
        defects: In how many runs each kind of defect was found.
        reached: The states and rows of the turn's table that all runs together have
            reached, for an agent on turnlatch; else None.
    """

    machine: str
    moves: Mapping[str, int]
    runs: int
    discarded: int
    seconds: float
    requests: Mapping[str, int]
    faults: Mapping[str, int]
    defects: Mapping[str, int]
    reached: Coverage | None = None

    def __str__(self) -> str:
        share = 100 * self.discarded / self.runs if self.runs else 0.0
        lines = [f"{many:7} {move}" for move, many in self.moves.items()]
        lines.append(f"requests: {_listed(self.requests)}")
        lines.append(f"faults met: {_listed(self.faults)}")
        lines.append(f"defects: {_listed(self.defects)}")
        if self.reached is not None:
            lines.append(str(self.reached).splitlines()[0])
        lines.append(
            f"{self.machine}: {self.runs} runs, {share:.0f} % discarded,"
            f" {sum(self.moves.values())} moves; {self.seconds:.1f} s"
        )
        return "\n".join(map(within, lines))


def _listed(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{many} {words}" for words, many in counted.items()) or "none"


@final
@attrs.define
class RunTally:
    """Counts the runs of one test.

    Attributes:
        moves: The moves.
        runs: The runs that were begun.
        discarded: Those that were thrown away.
        seconds: The time of all.
        taken: The rows of a table that each run took.
    """

    moves: Counter[str] = attrs.field(factory=Counter[str])
    runs: int = 0
    discarded: int = 0
    seconds: float = 0.0
    taken: list[TablePath] = attrs.field(factory=list[TablePath])
    _requests: Counter[str] = attrs.field(factory=Counter[str], init=False)
    _faults: Counter[str] = attrs.field(factory=Counter[str], init=False)
    _defects: Counter[str] = attrs.field(factory=Counter[str], init=False)

    def ended(
        self,
        requests: Sequence[LoggedRequest],
        verdict: Verdict,
        taken: Iterable[TablePath],
    ) -> None:
        """Count what a run has led to."""
        before: Json | None = None
        for one in requests:
            self._requests[_kind(one.body, before)] += 1
            before = one.body
            if one.fault:
                self._faults[one.fault[:_FAULT_MAX]] += 1
        self._defects.update(map(str, verdict.kinds))
        self.taken += taken

    def summary(self, machine: str, table: Table | None) -> MachineSummary:
        """The figures so far.

        Args:
            machine: The machine's name.
            table: The table whose rows the runs took.
        """
        return MachineSummary(
            machine,
            dict(self.moves.most_common()),
            self.runs,
            self.discarded,
            self.seconds,
            dict(self._requests.most_common()),
            dict(self._faults.most_common()),
            dict(self._defects.most_common()),
            None if table is None else coverage(table, self.taken),
        )


def _kind(body: Json | None, before: Json | None) -> str:
    if body is not None and body == before:
        return "repeated"
    messages = objects((body or {}).get("messages"))
    last = blocks(messages[-1].get("content")) if messages else ()
    results = any(block.get("type") == "tool_result" for block in last)
    return "with results" if results else "with a text"
