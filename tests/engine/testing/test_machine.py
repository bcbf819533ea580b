"""The kit finds the bugs of a hand-written agent, and finds none where none is."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.part import WHOLE

from turnlatch import SettingsError, TurnlatchError
from turnlatch.simulator import Answer, call, reply
from turnlatch.testing import DefectKind
from turnlatch.testing.agents import Agent, AgentDefectError, AgentWorld
from turnlatch.testing.machine import ConversationMachine
from turnlatch.testing.moves import paired

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from examples import shop_agent  # noqa: E402 - an example is no part of the package


def broken_pay(amount: int) -> str:
    """Pay, or say that there is not so much."""
    if amount > 3:
        raise ValueError("not so much")
    return shop_agent.pay(amount)


def machine(*bugs: str) -> type[ConversationMachine]:
    """The machine for the sample agent with some bugs."""

    class ShopMachine(ConversationMachine):
        tools: ClassVar[Mapping[str, Callable[..., Any]]] = {
            "pay": broken_pay,
            "refund": shop_agent.refund,
        }
        calls: ClassVar[Sequence[Answer]] = (
            call("pay", amount=3),
            call("pay", amount=4),
            call("refund", amount=5),
        )

        def agent(self, world: AgentWorld) -> Agent:
            client = world.api.sync_client()
            return shop_agent.Agent(client, world.folder, world.tools, bugs)

    return ShopMachine


FOUND: dict[str, DefectKind] = {
    "doubled": DefectKind.TEXT_DOUBLED,
    "twice": DefectKind.EFFECT_REPEATED,
    "forgotten": DefectKind.EFFECT_FORGOTTEN,
    "poison": DefectKind.POISON_RESENT,
    "cut": DefectKind.TRUNCATED_REPLY_ACCEPTED,
    "orphan": DefectKind.ILLEGAL_REQUEST,
    "approval": DefectKind.EFFECT_REPEATED,
}


def failure(kind: type[ConversationMachine]) -> tuple[str, list[int]]:
    """The report of the shortest failing run, and its moves."""
    with pytest.raises(AgentDefectError) as told:
        kind.TestCase("runTest").runTest()
    report = str(told.value)
    numbers = report.rsplit(".replay(", 1)[1].rstrip(")")
    return report, [int(one) for one in numbers.split(",")]


@pytest.mark.parametrize("bug", shop_agent.BUGS)
def test_each_bug_of_the_sample_agent_is_found_within_four_moves(bug: str) -> None:
    report, numbers = failure(machine(bug))
    assert f"\n{FOUND[bug]}: " in report, report
    assert len(numbers) <= 4, report
    assert max(map(len, report.splitlines())) <= 100, report
    with pytest.raises(AgentDefectError):
        machine(bug).replay(*numbers)
    machine().replay(*numbers)


def test_sample_agent_without_a_bug_is_found_to_have_none() -> None:
    machine().TestCase("runTest").runTest()


@pytest.mark.parametrize("bug", [None, "poison"] if WHOLE else ["poison"])
def test_test_of_the_documentation_is_short_and_finds_a_bug(
    bug: str | None, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "testing.md").read_text("utf-8")
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (program,) = (one for one in programs if "TestCase" in one)
    assert len([line for line in program.splitlines() if line.strip()]) <= 12
    if bug is not None:
        program = program.replace("world.tools)", f"world.tools, {{{bug!r}}})")
    (tmp_path / "test_shop.py").write_text(program, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "examples")},
    )
    assert done.returncode == (bug is not None), done.stdout
    assert (bug is not None) == ("Play it again: ShopMachine.replay(" in done.stdout)


class Silent:
    """Says nothing to anybody."""

    def say(self, text: str, /) -> str:
        return text


class Raising:
    """Cannot work."""

    async def say(self, text: str, /) -> str:
        raise KeyError(text)


def made_from(agent: object, **declared: Any) -> type[ConversationMachine]:
    """A machine with that agent."""

    def make(_: Any, __: AgentWorld) -> Any:
        return agent

    return type("OddMachine", (ConversationMachine,), {"agent": make, **declared})


def test_machine_without_an_agent_says_what_to_define() -> None:
    kind: Any = type("EmptyMachine", (ConversationMachine,), {})
    with pytest.raises(SettingsError, match=r"define agent\(self, world\)") as told:
        kind.TestCase("runTest").runTest()
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("agent", "declared", "told"),
    [
        (None, {}, "agent() returned NoneType, which has no say(text)"),
        (Silent, {}, "agent() returned the class Silent, which has no say(text)"),
        (str, {}, "agent() returned the class str, which has no say(text)"),
        (str.strip, {}, "The agent sent no request"),
        (Silent(), {}, "The agent sent no request"),
        (Raising(), {}, "(it raised KeyError at test_machine.py:"),
        (Silent(), {"tools": ["pay"]}, "it is a list"),
        (
            Silent(),
            {"calls": (call("nope"),)},
            "it names 'nope', and tools has no tool",
        ),
        (Silent(), {"faults": ("explode",)}, "explode"),
    ],
)
def test_bad_use_is_answered_with_a_line_to_act_on(
    agent: object, declared: dict[str, Any], told: str
) -> None:
    kind = made_from(agent, **declared)
    with pytest.raises((TurnlatchError, AgentDefectError)) as raised:
        kind.TestCase("runTest").runTest()
    assert told in str(raised.value)


class SwappingShop(shop_agent.Agent):
    """It runs parallel calls at the same time, and takes the ids as they come."""

    def _run(self, call: Any) -> Any:
        made = super()._run(call)
        last = self.history[-1]["content"]
        calls = [one["id"] for one in last if one["type"] == "tool_use"]
        if made is not None and len(calls) > 1:
            place = calls.index(made["tool_use_id"])
            made["tool_use_id"] = calls[len(calls) - 1 - place]
        return made


def test_pairs_of_calls_are_made_without_being_listed() -> None:
    def make(_: Any, world: AgentWorld) -> SwappingShop:
        return SwappingShop(world.api.sync_client(), world.folder, world.tools)

    calls = (call("pay", amount=2), call("pay", amount=3))
    kind = type("SwappingMachine", (machine(),), {"agent": make, "calls": calls})

    assert DefectKind.RESULT_SWAPPED in failure(kind)[0]
    one_by_one: Any = type("OneByOne", (kind,), {"pairs": False})
    one_by_one.sweep()


@pytest.mark.parametrize(
    ("many", "pairs"), [(0, []), (1, ["aa"]), (2, ["ab"]), (3, ["ab", "ca"])]
)
def test_each_call_is_in_a_pair(many: int, pairs: list[str]) -> None:
    made = paired([*map(call, "abc"[:many]), reply(call("x"), call("y"))])
    names = ["".join(part.name for part in one.parts) for one in made]  # type: ignore[union-attr] # they are calls
    assert names == pairs


def test_coroutine_function_is_an_agent() -> None:
    plain = machine("poison")

    def make(self: ConversationMachine, world: AgentWorld) -> Any:
        inner: Any = plain.agent(self, world)

        async def say(text: str) -> object:
            return inner.say(text)

        return say

    kind = type("AsyncMachine", (plain,), {"agent": make})
    assert DefectKind.POISON_RESENT in failure(kind)[0]


class AsyncShop:
    """The sample agent behind coroutine functions."""

    def __init__(self, agent: Any) -> None:
        self.inner = agent

    async def say(self, text: str, /) -> object:
        return self.inner.say(text)

    async def approve(self) -> object:
        return self.inner.approve()


def test_async_agent_is_talked_to() -> None:
    plain = machine("approval")

    def make(self: ConversationMachine, world: AgentWorld) -> AsyncShop:
        return AsyncShop(plain.agent(self, world))

    kind = type("AsyncMachine", (plain,), {"agent": make})
    assert DefectKind.EFFECT_REPEATED in failure(kind)[0]
