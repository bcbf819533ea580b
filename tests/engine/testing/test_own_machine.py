"""An agent on turnlatch survives what the kit does to it; a broken promise is found."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from tests.part import WHOLE

from turnlatch.simulator import Answer, call
from turnlatch.testing import FAULTS, DefectKind
from turnlatch.testing.agents import AgentDefectError
from turnlatch.testing.conversation_machine import TurnlatchMachine
from turnlatch.testing.machine import RUN
from turnlatch.tools.definition import Effect


def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


def refund(amount: int) -> str:
    """Refund."""
    return f"refunded {amount}"


class ShopMachine(TurnlatchMachine):
    """Pays, and asks before it refunds."""

    tools: ClassVar[Mapping[str, Callable[..., Any]]] = {"pay": pay, "refund": refund}
    effects: ClassVar[Mapping[str, Effect]] = {"refund": "ask"}
    calls: ClassVar[Sequence[Answer]] = (
        call("pay", amount=3),
        call("refund", amount=5),
    )
    faults: ClassVar[Sequence[str]] = FAULTS if WHOLE else ("529 @2-9", "cut 5 reset")


if not WHOLE:
    ShopMachine.TestCase.settings = settings(RUN, max_examples=12)


class WrongPromiseMachine(ShopMachine):
    """Says that a payment may be made again."""

    effects: ClassVar[Mapping[str, Effect]] = {"pay": "safe"}


def test_agent_on_turnlatch_keeps_its_promise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ShopMachine.TestCase("runTest").runTest()

    said = capsys.readouterr().out
    for move in (
        "steer",
        "interrupt it",
        "rewind",
        "fork",
        "compact",
        "dies at the next",
    ):
        assert move in said
    assert re.search(
        r"\nShopMachine: \d+ runs, 0 % discarded, \d+ moves; \d+\.\d s\n$", said
    )
    reached = ShopMachine.summary().reached
    assert reached is not None
    assert {"calling", "asking", "done", "resting", "abandoned"} <= reached.states
    assert f"\nturn: {len(reached.states)} of " in said


def test_tool_that_is_wrongly_declared_safe_is_found() -> None:
    with pytest.raises(AgentDefectError) as told:
        WrongPromiseMachine.TestCase("runTest").runTest()
    assert f"\n{DefectKind.EFFECT_REPEATED}: pay" in str(told.value)
    assert len(told.value.numbers) == 3, str(told.value)
    with pytest.raises(AgentDefectError):
        WrongPromiseMachine.replay(*told.value.numbers)
