"""The testing kit against a property test written by hand, and what its plugin costs.

Both test the sample agent with each of its bugs. The time is that of the processor for the
whole failing test, until its shortest counterexample is known.
"""

import contextlib
import inspect
import io
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

from examples import shop_agent
from hypothesis.stateful import run_state_machine_as_test

from benchmarks.by_hand import RUN, ByHand
from benchmarks.plan import Plan
from benchmarks.report import Report, Row
from turnlatch.simulator import Answer, call
from turnlatch.testing import AgentDefectError, AgentWorld, ConversationMachine

_HAND = "a Hypothesis machine written by hand"


def small_pay(amount: int) -> str:
    """Pay, or say that there is not so much."""
    if amount > 3:
        raise ValueError("not so much")
    return shop_agent.pay(amount)


class WithKit(ConversationMachine):
    """The same conversation, tested with the kit."""

    tools: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "pay": small_pay,
        "refund": shop_agent.refund,
    }
    calls: ClassVar[Sequence[Answer]] = (
        call("pay", amount=3),
        call("pay", amount=4),
        call("refund", amount=5),
    )
    bugs: ClassVar[Sequence[str]] = ()

    def agent(self, world: AgentWorld) -> shop_agent.Agent:
        """Make the agent."""
        client = world.api.sync_client()
        return shop_agent.Agent(client, world.folder, world.tools, self.bugs)


def _found(test: Callable[[], None]) -> tuple[float, BaseException | None]:
    """Milliseconds of the processor until a test has failed, and how; None if it has not."""
    began = time.process_time()  # both work in this process: other load does not count
    failed: BaseException | None = None
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            test()
        except (AssertionError, ExceptionGroup) as error:
            failed = error
    return (time.process_time() - began) * 1e3, failed


def _by_kit(bug: str) -> tuple[float, int]:
    kind: Any = type("WithKit", (WithKit,), {"bugs": (bug,)})
    took, failed = _found(kind.TestCase("runTest").runTest)
    moves = len(failed.numbers) if isinstance(failed, AgentDefectError) else 0
    return took, moves


def _by_hand(bug: str) -> tuple[float, int]:
    kind: Any = type("ByHand", (ByHand,), {"bugs": (bug,)})
    took, failed = _found(lambda: run_state_machine_as_test(kind, settings=RUN))
    return took, 0 if failed is None else kind.steps


def _lines(kind: Any) -> int:
    """The lines of a class or a function that are neither blank nor a docstring."""
    written = inspect.getsource(kind).splitlines()
    return sum(1 for one in written if one.strip() and '"""' not in one)


def measure(plan: Plan, folder: Path) -> Report:
    """Find the bugs both ways, and start pytest with and without the plugin."""
    rows = [
        Row(
            "kit: lines of the test",
            "count",
            _lines(WithKit) + _lines(small_pay),
            _lines(ByHand),
            _HAND,
        )
    ]
    for bug in [*shop_agent.BUGS][: plan.kit_bugs]:
        (ours, moves), (hand, steps) = _by_kit(bug), _by_hand(bug)
        against = _HAND if steps else f"{_HAND}: not found"
        rows.append(Row(f"kit: find {bug!r} (processor)", "ms", ours, hand, against))
        rows.append(
            Row(f"kit: moves to {bug!r}", "count", moves, steps or None, against)
        )
    return Report((*rows, *_plugin(plan.plugin_pairs, folder)))


def _plugin(pairs: int, folder: Path) -> Sequence[Row]:
    """The start of pytest with the plugin and without it, in alternating pairs."""
    (folder / "test_nothing.py").write_text("def test_nothing(): pass\n", "utf-8")
    rows: list[Row] = []
    for name, words in (
        ("pytest --version", ("--version",)),
        ("an empty test", ("-q", "-p", "no:cacheprovider", "test_nothing.py")),
    ):
        took: dict[bool, list[float]] = {True: [], False: []}
        for pair in range(pairs):
            for used in (True, False) if pair % 2 else (False, True):
                left_out = () if used else ("-p", "no:turnlatch")
                took[used].append(_start(folder, *words, *left_out))
        against = "the same without the plugin; at most 20 ms less"
        rows.append(
            Row(
                f"plugin: {name}",
                "ms",
                median(took[True]),
                median(took[False]),
                against,
            )
        )
    return rows


def _start(folder: Path, *words: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return (time.perf_counter() - began) * 1e3
