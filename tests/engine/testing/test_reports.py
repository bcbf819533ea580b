"""Reports of failing runs and summaries of tests, as they stand in a CI log."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import assume, settings
from tests.engine.cli.test_break import AGENT, CALLS
from tests.engine.testing import test_command_machine, test_machine
from tests.engine.testing.playing import play
from tests.engine.testing.test_own_machine import WrongPromiseMachine

from turnlatch.cli import main
from turnlatch.simulator import call
from turnlatch.testing import (
    AgentDefectError,
    ConversationMachine,
    Effects,
    MachineSummary,
    MessagesApi,
)
from turnlatch.testing.machine import RUN

REPORTS = Path(__file__).parent / "reports"
DEATH = ("effect done", "calls pay")


@pytest.mark.parametrize(
    ("name", "kind", "moves"),
    [
        ("shop", test_machine.machine("twice"), DEATH),
        ("forgotten", test_machine.machine("forgotten"), ("529 @2-9", "calls pay")),
        ("command", test_command_machine.machine("twice"), DEATH),
        ("turnlatch", WrongPromiseMachine, (*DEATH, "retry")),
    ],
)
def test_report_of_a_failing_run_is_this_text(
    name: str, kind: type[ConversationMachine], moves: tuple[str, ...]
) -> None:
    with pytest.raises(AgentDefectError) as told:
        play(kind, *moves)
    report = str(told.value)
    assert f"{report}\n" == (REPORTS / f"{name}.txt").read_text("utf-8")
    assert max(map(len, report.splitlines())) <= 100


def test_report_of_a_broken_command_is_this_text() -> None:
    words = ("break", "--replay", "dies at effect done", "--calls", CALLS, "--")
    result = CliRunner().invoke(main, [*words, *AGENT, "twice"])
    report, _, _ = result.stdout.partition("Play it again: ")
    assert report == (REPORTS / "break.txt").read_text("utf-8")


def test_picture_of_many_requests_shows_the_last_and_stays_narrow() -> None:
    with MessagesApi(environment={}) as api:
        api.watch_effects(Effects())
        assert api.picture().splitlines()[1:] == []
        client = api.sync_client().with_options(max_retries=0)
        api.answers(call("pay", note="long " * 40))
        for number in range(30):
            said: Any = [{"role": "user", "content": f"{number} " + "word " * 40}]
            client.messages.create(max_tokens=99, model="claude-opus-5", messages=said)
        lines = api.picture().splitlines()
    assert len(lines) == 1 + 2 * 20
    assert "#30 " in lines[-2]
    assert max(map(len, lines)) <= 100


def summary(kind: type[ConversationMachine], runs: int) -> MachineSummary:
    """The figures of a short test."""
    kind.TestCase.settings = settings(RUN, max_examples=runs)
    kind.TestCase("runTest").runTest()
    return kind.summary()


def test_summary_says_what_a_test_has_reached() -> None:
    shop = test_machine.machine()
    shop.calls = (call("pay", amount=3),)
    shop.faults = ("cut 5 clean",)

    found = summary(shop, 5)

    assert found.moves["say something that calls pay, pay"] > 0
    assert found.runs > 20
    assert found.discarded == 0
    assert found.seconds > 0
    assert min(found.requests[one] for one in ("with a text", "with results")) > 0
    assert found.faults["cut 5 clean"] > 0
    assert (found.defects, found.reached) == ({}, None)
    last = str(found).splitlines()[-1]
    assert last.startswith(f"ShopMachine: {found.runs} runs, 0 % discarded, ")


def test_summary_counts_what_an_assumption_discards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(self: ConversationMachine, world: Any) -> None:
        assume(self.numbers[0] < 100)

    def sweep() -> None:
        """Leave everything to chance."""

    picky = test_machine.machine()
    monkeypatch.setattr(picky, "check", check)
    monkeypatch.setattr(picky, "sweep", sweep)

    found = summary(picky, 20)
    assert 0 < found.discarded < found.runs
    assert f" {100 * found.discarded / found.runs:.0f} % discarded" in str(found)
