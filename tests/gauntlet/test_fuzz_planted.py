"""The fuzzer's checks of effects and of what is steered, each held to a planted engine.

In each a line of the engine is made to say something else. A script finds it, and is made
short; without the bug the short script holds.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, final

import anyio
import attrs
import pytest
from tests.gauntlet.fuzz import Finding, scripts, shrunk, tried
from tests.gauntlet.fuzz_script import Play

from turnlatch.tools import Tool
from turnlatch.tools.execution import ToolRun
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.effects.call_effects import Ending
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.snapshot import Call, Snapshot, Turn
from turnlatch_states.machine.steering import with_said
from turnlatch_states.machine.synthetic_results import closed_result, ended

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


def timed_out_as_done(_: Tool, use: ToolUse, said: str, told: str) -> Ending:
    """Planted: a call past its time is told as one that succeeded."""
    return Ending(Closing.RESULT, closed_result(use.id, "Done."))


def timed_out_as_not_run(_: Tool, use: ToolUse, said: str, told: str) -> Ending:
    """Planted: a call past its time is told as one that was not executed."""
    return Ending(Closing.NOT_EXECUTED, closed_result(use.id, "Not executed."))


async def asked_by_doing(
    tool: Tool, use: ToolUse, key: str, bytes_max: int | None = None
) -> Ending:
    """Planted: a call whose end was not seen is run again instead of asked about."""
    return await ToolRun(tool, use, key, bytes_max).wait()


class Curious(ToolRun):  # type: ignore[misc] # a planted one
    """Planted: whoever saw the end of a call asks nevertheless."""

    def __init__(
        self,
        tool: Tool,
        use: ToolUse,
        key: str,
        *further: Any,
    ) -> None:
        super().__init__(tool, use, key, *further)
        self._asks, self._of = tool.reconcile, key

    async def wait(self) -> Ending:
        found = await super().wait()
        if self._asks is not None and found.closing is not Closing.UNKNOWN:
            made: Any = self._asks(self._of)
            await made
        return found


async def let_pass(*_: object) -> None:
    """Planted: a yes counts for whatever waits, and for ever."""


@final
@attrs.frozen
class Planted:
    """A bug, and a script that finds it.

    Attributes:
        where: The module.
        name: What stands there.
        bug: What is put in its place.
        script: A script that a search found, as short as it was made.
        says: What the finding says.
    """

    where: str
    name: str
    bug: Callable[..., Any]
    script: str
    says: str

    @contextmanager
    def planted(self) -> Generator[None]:
        """The engine with the bug in it."""
        holder: Any = import_module(self.where)
        *inside, last = self.name.split(".")
        for part in inside:
            holder = getattr(holder, part)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(holder, last, self.bug)
            yield


STEP, RUNS = "turnlatch_states.machine.step", "turnlatch.tools.execution"

PLANTED = (
    Planted(
        STEP,
        "with_said",
        said_for_ever,
        "seed=1571 / steer ember 1, stream delta / ",
        "what is said is said once",
    ),
    Planted(
        STEP,
        "with_said",
        said_backwards,
        "seed=8582 model=claude-sonnet-5 tools=babble /"
        " steer pebble 1, steer grove 1, stream pebble / ",
        "what is said is said in order",
    ),
    Planted(
        STEP,
        "still_waiting",
        said_for_nothing,
        "seed=9389 / send ember, steer island / ",
        "what is said is not lost",
    ),
    Planted(
        STEP,
        "ended",
        told_as_done,
        "seed=7596 model=claude-fable-5 threads=on cache=1h / stop pebble 4 / ",
        "a call that was stopped has no result",
    ),
    Planted(
        RUNS,
        "_unseen",
        timed_out_as_done,
        "seed=6133 cache=off tools=soon+settle+babble+slip+lag /"
        " steer juniper, send birch / ",
        "a result is of a call that ran",
    ),
    Planted(
        RUNS,
        "_unseen",
        timed_out_as_not_run,
        "seed=3979 threads=on cache=1h tools=lag+slip+babble / stream lantern / ",
        "what is said not to have run did not run",
    ),
    Planted(
        "turnlatch.runtime.tool_calls",
        "reconcile",
        asked_by_doing,
        "seed=10 tools=lag / steer fjord 1, send amber / ",
        "a call is carried out once",
    ),
    Planted(
        "turnlatch.runtime.tool_calls",
        "ToolRun",
        Curious,
        "seed=2849 threads=on tools=lag+babble+settle+soon / abandon, send fjord / ",
        "only what nobody saw the end of is asked about",
    ),
    Planted(
        "turnlatch.approving",
        "Approving._demand_same",
        let_pass,
        "seed=9 model=claude-sonnet-5 moody=1 tools=settle+deaf /"
        " send amber, send kettle, approve / ",
        "a yes is for one question and in time",
    ),
)


@pytest.mark.spoils_journals("a planted bug writes what the tables refuse")
@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.bug.__name__)
def test_a_script_finds_what_is_planted_and_holds_without_it(one: Planted) -> None:
    play = Play.parse(one.script)
    with one.planted():
        found = anyio.run(tried, play)

    assert found is not None
    assert found.what == one.says, found.told
    assert anyio.run(tried, play) is None


@pytest.mark.spoils_journals("a planted bug writes what the tables refuse")
def test_planted_bug_is_found_by_drawing_and_shortened() -> None:
    with PLANTED[0].planted():
        found = anyio.run(first_found)

    assert found.what == PLANTED[0].says
    assert len(found.play.moves) <= 3
    assert found.play.faults == ()


async def first_found() -> Finding:
    """The first script that the engine fails, made short."""
    for play in scripts(0, SCRIPTS):
        found = await tried(play)
        if found is not None:
            return await shrunk(found)
    raise AssertionError("it was not found")
