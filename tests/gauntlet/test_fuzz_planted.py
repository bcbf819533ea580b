"""The fuzzer's checks of effects and of what is steered, each held to a planted engine.

In each a line of the engine is made to say something else. A script finds it, and is made
short; without the bug the short script holds.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import anyio
import attrs
import pytest
from tests.gauntlet.fuzz import Finding, scripts, shrunk, tried

from detent.tools import Tool
from detent.tools.execution import Ending, Run
from detent_states.call import CallState, Closing
from detent_states.closing import closed_result, ended
from detent_states.reply import ToolUse
from detent_states.snapshot import Call, Snapshot, Turn
from detent_states.steering import with_said

SCRIPTS = 400
"""How many are played to find one."""


def said_for_ever(turn: Turn, said: tuple[bytes, ...]) -> dict[str, Any]:
    """Planted: what goes along is not counted, so it waits on, and goes along again."""
    return {**with_said(turn, said), "taken": turn.taken}


def said_backwards(turn: Turn, said: tuple[bytes, ...]) -> dict[str, Any]:
    """Planted: what waits goes along the other way round."""
    return with_said(turn, said[: turn.taken] + said[turn.taken :][::-1])


def said_for_nothing(_: Snapshot, __: Turn) -> tuple[bytes, ...]:
    """Planted: a new message forgets what waits."""
    return ()


def told_as_done(call: Call) -> Call:
    """Planted: a call that was stopped is told as one that succeeded."""
    if call.state is not CallState.STARTED:
        return ended(call)
    result = closed_result(call.use.id, "Done.")
    return attrs.evolve(
        call, state=CallState.CLOSED, closing=Closing.RESULT, result=result
    )


def timed_out_as_done(_: Tool, use: ToolUse) -> Ending:
    """Planted: a call past its time is told as one that succeeded."""
    return Ending(Closing.RESULT, closed_result(use.id, "Done."))


def timed_out_as_not_run(_: Tool, use: ToolUse) -> Ending:
    """Planted: a call past its time is told as one that was not executed."""
    return Ending(Closing.NOT_EXECUTED, closed_result(use.id, "Not executed."))


async def asked_by_doing(
    tool: Tool, use: ToolUse, key: str, bytes_max: int | None = None
) -> Ending:
    """Planted: a call whose end was not seen is run again instead of asked about."""
    return await Run(tool, use, key, bytes_max).wait()


class Curious(Run):  # type: ignore[misc] # a planted one
    """Planted: whoever saw the end of a call asks nevertheless."""

    def __init__(self, tool: Tool, use: ToolUse, key: str, most: int) -> None:
        super().__init__(tool, use, key, most)
        self._asks, self._of = tool.reconcile, key

    async def wait(self) -> Ending:
        found = await super().wait()
        if self._asks is not None and found.closing is not Closing.UNKNOWN:
            made: Any = self._asks(self._of)
            await made
        return found


def let_pass(*_: object) -> None:
    """Planted: a yes counts for whatever waits, and for ever."""


PLANTED: tuple[tuple[str, str, Callable[..., Any], str], ...] = (
    ("detent_states.step", "with_said", said_for_ever, "what is said is said once"),
    (
        "detent_states.step",
        "with_said",
        said_backwards,
        "what is said is said in order",
    ),
    ("detent_states.step", "still_waiting", said_for_nothing, "is not lost"),
    ("detent_states.step", "ended", told_as_done, "that was stopped has no result"),
    ("detent.tools.execution", "_timed_out", timed_out_as_done, "result is"),
    ("detent.tools.execution", "_timed_out", timed_out_as_not_run, "did not run"),
    ("detent.calling", "reconcile", asked_by_doing, "a call is carried out once"),
    ("detent.calling", "Run", Curious, "only what nobody saw the end of"),
    (
        "detent.approving",
        "Approving._demand_same",
        let_pass,
        "a yes is for one question",
    ),
)


@pytest.mark.parametrize(("where", "name", "bug", "says"), PLANTED)
def test_a_planted_engine_is_found_and_made_short(
    where: str,
    name: str,
    bug: Callable[..., Any],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder: Any = import_module(where)
    *inside, last = name.split(".")
    for part in inside:
        holder = getattr(holder, part)
    with monkeypatch.context() as planted:
        planted.setattr(holder, last, bug)
        found = anyio.run(first_found)

    assert says in found.what, found.told
    assert len(found.play.moves) <= 4
    assert anyio.run(tried, found.play) is None, "without the bug it holds"


async def first_found() -> Finding:
    """The first script that the engine fails, made short."""
    for play in scripts(0, SCRIPTS):
        found = await tried(play)
        if found is not None:
            return await shrunk(found)
    raise AssertionError("it was not found")
