"""An agent on turnlatch survives what the kit does to it; a broken promise is found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from turnlatch.simulator import Answer, call
from turnlatch.testing import DefectKind
from turnlatch.testing.agents import AgentDefectError
from turnlatch.testing.conversation_machine import TurnlatchMachine
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


class WrongPromiseMachine(ShopMachine):
    """Says that a payment may be made again."""

    effects: ClassVar[Mapping[str, Effect]] = {"pay": "safe"}


def test_agent_on_turnlatch_keeps_its_promise() -> None:
    ShopMachine.TestCase("runTest").runTest()


def test_tool_that_is_wrongly_declared_safe_is_found() -> None:
    with pytest.raises(AgentDefectError) as told:
        WrongPromiseMachine.TestCase("runTest").runTest()
    assert f"\n{DefectKind.EFFECT_REPEATED}: pay" in str(told.value)
    assert len(told.value.numbers) == 3, str(told.value)
    with pytest.raises(AgentDefectError):
        WrongPromiseMachine.replay(*told.value.numbers)
