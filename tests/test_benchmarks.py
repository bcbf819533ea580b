"""The benchmarks run and fill their table; what the numbers are is not asked here."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnlatch.ports import Delta, Model, RequestFailedError
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

ROOT = Path(__file__).resolve().parents[1]

ARMS = {
    "turnlatch, durable",
    "(a) SDK loop, in memory",
    "(b) SDK, kept bytes",
    "(c) raw socket, fdatasync",
}
COLUMNS = ["measure", "ours", "reference", "ratio", "target", "met?"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """One run of every arm at the smallest size: what it printed, and what it wrote."""
    file = tmp_path_factory.mktemp("benchmarks") / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", "--json", str(file)],
        capture_output=True,
        cwd=ROOT,
        env={"PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)},
        timeout=900,  # a guard; other load on the machine makes it slow
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(), json.loads(file.read_text("utf-8"))


def test_table_has_its_columns_and_a_line_for_every_row(
    run: tuple[str, dict[str, Any]],
) -> None:
    printed, written = run
    machine, table, *_ = printed.split("\n\n")
    heads, _, *lines = table.splitlines()

    assert heads.split() == COLUMNS
    assert len(lines) == len(written["rows"])
    for line, row in zip(lines, written["rows"], strict=True):
        assert line.startswith(row["measure"])
    for fact in ("cores", "python", "sqlite", "anthropic"):
        assert f"{fact} {written['machine'][fact]}" in machine


def test_every_arm_takes_every_kind_of_turn(run: tuple[str, dict[str, Any]]) -> None:
    _, written = run

    assert len(written["samples"]) == 4
    for place in written["samples"]:
        assert set(place["arms"]) == ARMS
        assert all(sample > 0 for arm in place["arms"].values() for sample in arm)


def test_every_row_is_a_positive_value_and_says_what_it_is_held_against(
    run: tuple[str, dict[str, Any]],
) -> None:
    _, written = run

    for row in written["rows"]:
        assert row["ours"] > 0 or row["unit"] in ("bytes", "MB", "count"), row
        assert row["against"], row
        assert (row["target"] is None) == (row["met"] is None) or not row["reference"]


def test_spans_add_up_to_the_whole_turn(run: tuple[str, dict[str, Any]]) -> None:
    _, written = run

    assert written["spans"]
    for spans in written["spans"].values():
        *parts, whole = spans
        assert sum(part["micros"] for part in parts) == pytest.approx(whole["micros"])


class Port:
    """Planted: a port that is not what it should be."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        return await self.inner.send(request, report)

    async def count(self, request: Request) -> int:
        return await self.inner.count(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


class Impatient(Port):
    """It sends what was refused three times more before it says so."""

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        for _ in range(3):
            try:
                return await self.inner.send(request, report)
            except RequestFailedError:
                pass
        return await self.inner.send(request, report)


class Sulking(Port):
    """It fails for good in the middle of the conversation."""

    sent = 0

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        self.sent += 1
        if self.sent > 9:
            raise RequestFailedError(Fault(FaultKind.REFUSAL, "Enough."))
        return await self.inner.send(request, report)


class Careless(Port):
    """It leaves out an answer that is owed."""

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        body = request.body.replace(b'"tool_result"', b'"tool_told"')
        other = Request(
            *(request.turn, request.attempt, request.purpose, body, request.betas),
            stream=request.stream,
        )
        return await self.inner.send(other, report)


@pytest.fixture
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are no part of what is installed."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("bug", "says"), [(Impatient, "where its ladder allows"), (Sulking, "stuck")]
)
@pytest.mark.usefixtures("_at_root")
async def test_a_recovery_that_costs_too_much_or_never_comes_is_caught(
    bug: Callable[[Model], Model], says: str
) -> None:
    from benchmarks import recovery

    with pytest.raises(AssertionError, match=says):
        await recovery.measure(bug)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("bug", "says"), [(Sulking, "is stuck"), (Careless, "was refused")]
)
@pytest.mark.usefixtures("_at_root")
async def test_a_long_conversation_that_stumbles_is_caught(
    tmp_path: Path, bug: Callable[[Model], Model], says: str
) -> None:
    from benchmarks import steady

    with pytest.raises(AssertionError, match=says):
        await steady.measure(24, tmp_path, bug)


# Work in proportion.


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that doubles what it works on."""
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    return importlib.import_module("benchmarks.linear")


class Counted:
    """A clock that goes by the work that is done."""

    def __init__(self) -> None:
        self.work = 0.0

    def __call__(self) -> float:
        return self.work

    def by(self, power: int) -> Callable[[int], Callable[[], object]]:
        def do(size: int) -> Callable[[], object]:
            def work() -> None:
                self.work += size**power

            return work

        return do


@pytest.mark.parametrize(("power", "ratio"), [(1, 2.0), (2, 4.0)])
def test_quadratic_work_differs_from_linear_work(
    linear: Any, power: int, ratio: float
) -> None:
    clock = Counted()
    twice, once = linear.timed(linear.Work("w", clock.by(power)), 100, clock)

    assert twice / once == ratio
    assert (ratio > linear.RATIO_MAX) is (power > 1)


def test_every_workload_runs_and_has_a_separate_name(linear: Any) -> None:
    for work in linear.WORK:
        work.do(10)()
    names = [work.name for work in linear.WORK]

    assert len(names) == len(set(names))
