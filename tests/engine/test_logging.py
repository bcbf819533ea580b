"""What is logged: one line a turn, one a fault, one an error in the caller's code."""

import ast
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import anyio
import pytest
from tests.around import append_now
from tests.harness.world import World
from transitions import Machine

import turnlatch
from turnlatch import Fault, FaultKind, RetryPolicy, TerminalToolError, tool
from turnlatch.errors import CorrectableToolError
from turnlatch.journal import SQLiteStore
from turnlatch.logs import LOG_CALLER, doing
from turnlatch.ports import RequestFailedError
from turnlatch.simulator import call
from turnlatch_states.machine.events import ConversationOpened, RequestSent, TurnOpened
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    Compact,
    Decision,
    PingServer,
    Stop,
    Suspend,
    WaitThenRetry,
)
from turnlatch_states.request.history import Method

pytestmark = pytest.mark.anyio

SECRET = "hunter2 is the password"

Lines = Callable[[str], list[logging.LogRecord]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Every record of a logger; everything is heard."""
    caplog.set_level(logging.DEBUG)
    return lambda name: [one for one in caplog.records if one.name == name]


async def test_a_turn_is_one_line_with_its_numbers(
    world: World, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    world.script(call("act", what=SECRET), SECRET)
    async with world.open(system=SECRET) as chat:
        turn = await chat.send(SECRET)

    (line,) = lines("turnlatch.turns")
    usage = turn.usage
    assert line.levelno == logging.INFO
    assert re.fullmatch(
        rf"conversation 'a' turn 1: confirmed; requests 2, tokens in"
        rf" {usage.context - usage.output}, out {usage.output}, \d+\.\d s",
        line.getMessage(),
    )
    assert not [one for one in caplog.records if one.name.startswith("transitions")]
    assert SECRET not in "".join(
        one.getMessage() for one in caplog.records if one.name.startswith("turnlatch")
    )  # the SDK logs bodies, at DEBUG


@pytest.mark.parametrize("waits", [True, False])
async def test_a_turn_that_waits_or_failed_says_so(
    world: World, lines: Lines, waits: bool
) -> None:
    world.script(call("ask", what="x"), faults="" if waits else "529 @1")
    async with world.open(retry=RetryPolicy(attempts_max=1)) as chat:
        await chat.send("Go")

    says = "confirmed, waits for a person" if waits else "failed (transient)"
    assert f"turn 1: {says}; requests 1" in lines("turnlatch.turns")[0].getMessage()


def test_state_machines_of_the_caller_still_log(lines: Lines) -> None:
    """The planted bug would be to quiet the library as a whole."""
    names: list[Any] = ["mine", "turnlatchs", None]
    for name in names:
        machine: Any = Machine(states=["a", "b"], initial="a", name=name)
        machine.to_b()

    assert len(lines("transitions.core")) >= 3


# Faults.


class Failing:
    """A model port that answers every request with a fault."""

    def __init__(self, kind: FaultKind) -> None:
        self.fault = Fault(
            kind, SECRET, 418, "teapot_error", "cold", "req_7", retry_after=0.0
        )

    async def send(self, request: object, report: object) -> Any:
        raise RequestFailedError(self.fault)

    async def count(self, request: object) -> int:
        raise RequestFailedError(self.fault)

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("kind", FaultKind)
async def test_each_kind_of_fault_has_a_line_that_says_what_is_done(
    world: World, lines: Lines, caplog: pytest.LogCaptureFixture, kind: FaultKind
) -> None:
    retry = RetryPolicy(attempts_max=2)
    async with world.open(client=Failing(kind), retry=retry) as chat:
        turn = await chat.send("Go")
        assert turn.fault is not None

    found = lines("turnlatch.faults")
    assert {one.levelno for one in found} == {logging.WARNING}
    first = found[0].getMessage()
    named = f"conversation 'a' turn 1 request 1: {kind.value} 418 teapot_error cold"
    assert first.startswith(f"{named} (request id req_7); it ")
    assert SECRET not in caplog.text


DECISIONS: list[Decision] = [
    WaitThenRetry(2.0),
    ChangeRequest(Remedy.REPLAY, SECRET),
    Compact(1, Method.SIGNED),
    PingServer(1.0),
    BisectHistory(),
    Suspend(SECRET),
    Stop(),
]


def test_each_decision_has_words() -> None:
    assert {type(one) for one in DECISIONS} == set(get_args(Decision))
    said = [doing(one) for one in DECISIONS]
    assert len(set(said)) == len(said)
    assert all(one.startswith("it ") and SECRET not in one for one in said)


async def test_wait_and_its_end_are_logged(world: World, lines: Lines) -> None:
    world.script("Done.", faults="429 retry-after=2 @1, 529 @2")
    async with world.open() as chat:
        await chat.send("Go")

    first, second = (one.getMessage() for one in lines("turnlatch.faults"))
    assert "429 rate_limit_error" in first
    assert re.search(r"; it waits 2\.\d s, and sends the same again$", first)
    assert "request 2: transient 529" in second
    assert re.search(r"request id req_\w+", second)


async def test_stopped_turn_is_logged(world: World, lines: Lines) -> None:
    @tool
    async def stop() -> str:
        """Stop the turn."""
        await chat.interrupt()
        await anyio.sleep_forever()
        return ""

    world.script(call("stop"))
    async with world.open(tools=[stop]) as chat:
        await chat.send("Go")

    (line,) = lines("turnlatch.faults")
    assert "cancelled (request id none); it was stopped" in line.getMessage()


async def test_refused_trial_is_logged(world: World, lines: Lines) -> None:
    """Something short is asked after four equal failures, and fails, too."""
    world.script("One.", *["Done."] * 9, faults="529 @2+")
    async with world.open() as chat:
        await chat.send("first")
        await chat.send("Go")

    told = [one.getMessage() for one in lines("turnlatch.faults")]
    assert [one for one in told if "that was a trial" in one and "529" in one]
    assert [one for one in told if "it asks something short" in one]


async def test_turn_left_by_a_dead_process_is_logged_at_opening(
    world: World, lines: Lines
) -> None:
    store = SQLiteStore(world.store)
    async with world.open(store=store) as chat:
        profile = chat.profile
    journal = store.open("b")
    block = b'{"type":"text","text":"Go"}'
    opened = ConversationOpened(profile, "id")
    append_now(journal, [opened, TurnOpened(1, block), RequestSent(1, 1)])
    journal.close()
    async with world.open("b", store=store):
        pass
    store.close()

    (line,) = lines("turnlatch.faults")
    assert "turn 1 request 1: interrupted" in line.getMessage()


# The caller's code.


def fails(*_: object) -> Any:
    """Raise, as plain code does."""
    raise ValueError(f"{SECRET} \x1b[2J \ud800")


async def fails_later(*_: object) -> Any:
    """Raise, as a coroutine does."""
    fails()


@tool(name="plain")
def plain() -> str:
    """Fail in a thread."""
    return str(fails())


@tool(name="later")
async def later() -> str:
    """Fail on the loop."""
    return str(fails())


@tool(name="final")
async def final() -> str:
    """Say that the turn cannot go on."""
    raise TerminalToolError("no")


@tool(name="unreadable")
async def unreadable() -> object:
    """Give what has no JSON."""
    return object()


@tool(name="lost", timeout=0.05, grace=0.01, reconcile=fails)
async def lost() -> str:
    """Never end, and be asked about."""
    await anyio.sleep_forever()
    return ""


@tool(name="ruled", approve=fails_later)
async def ruled() -> str:
    """Be decided about by a rule that fails."""
    return ""


CALLED: dict[str, str] = {
    "plain": "the tool plain failed; the model is told",
    "later": "the tool later failed; the model is told",
    "final": "the tool final failed, and its turn cannot go on",
    "unreadable": "the result of the tool unreadable cannot be read",
    "lost": "what became of a call of lost cannot be found out",
    "ruled": "the rule about calls of the tool ruled failed",
}


@pytest.mark.parametrize("name", CALLED)
async def test_callers_code_that_raises_in_a_call_is_logged_with_its_traceback(
    world: World, lines: Lines, name: str
) -> None:
    tools = [plain, later, final, unreadable, lost, ruled]
    world.script(call(name), "Done.")
    async with world.open(tools=tools) as chat:
        await chat.send("Go")

    (line,) = lines("turnlatch.caller")
    assert line.levelno == logging.ERROR
    assert line.getMessage().startswith(CALLED[name])
    assert "Traceback" in logging.Formatter().format(line)
    assert plainly(line)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_hook_that_raises_is_logged_with_its_traceback(
    world: World, lines: Lines, when: str
) -> None:
    hooks: dict[str, Any] = {f"{when}_compaction": fails}
    async with world.open(**hooks) as chat:
        await chat.send("Go " * 400)
        await chat.compact()

    (line,) = lines("turnlatch.caller")
    assert line.getMessage().startswith(f"the hook {when} a compaction failed")
    assert plainly(line)


async def test_correctable_tool_error_is_not_logged_as_an_error(
    world: World, lines: Lines
) -> None:
    @tool
    async def fussy() -> str:
        """Say what is wrong."""
        raise CorrectableToolError("give a number")

    world.script(call("fussy"), "Done.")
    async with world.open(tools=[fussy]) as chat:
        await chat.send("Go")

    assert lines("turnlatch.caller") == []


def plainly(line: logging.LogRecord) -> bool:
    """True if a log file or a terminal can take it: UTF-8, no controls but lines."""
    told = logging.Formatter().format(line)
    told.encode()
    return all(char.isprintable() or char in "\n\t" for char in told)


async def test_names_are_spelt_out(world: World, lines: Lines) -> None:
    world.script("Done.", faults="529 @1")
    async with world.open("a\x1b]0;b\x07\u202ec") as chat:
        await chat.send("Go")

    for line in (*lines("turnlatch.turns"), *lines("turnlatch.faults")):
        assert plainly(line)
        assert "a\\x1b]0;b\\x07\\u202ec" in line.getMessage()


def test_every_place_that_calls_code_of_the_callers_is_in_these_tests() -> None:
    """What begins code of the caller's, by `tasks`: tools, rules, hooks, validators
    of arguments (whose errors are the model's)."""
    found = {
        f"{path.stem}.{function.name}"
        for path in Path(turnlatch.__file__).parent.rglob("*.py")
        if path.stem != "tasks"
        for function in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(function, ast.AsyncFunctionDef)
        and any(
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("answered", "called")
            for node in ast.walk(function)
        )
    }
    assert found == {
        "perform.ask_hook",
        "perform.tell_hook",
        "execution._made",
        "execution.shown",
        "execution.reconcile",
        "execution.ruled",
    }


def test_logger_has_a_null_handler() -> None:
    """Without a handler of the program's own, Python would print to standard error."""
    handlers = logging.getLogger("turnlatch").handlers
    assert any(isinstance(one, logging.NullHandler) for one in handlers)
    assert LOG_CALLER.name == "turnlatch.caller"


def test_error_without_a_text_is_logged(lines: Lines) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    LOG_CALLER.error("it failed", exc_info=Mute())
    assert "Mute" in logging.Formatter().format(lines("turnlatch.caller")[0])


def test_the_table_of_what_is_logged_names_every_logger() -> None:
    told = Path(__file__).parents[2].joinpath("docs", "design.md").read_text("utf-8")
    found = [
        name
        for name, one in logging.root.manager.loggerDict.items()
        if name.startswith("turnlatch.") and isinstance(one, logging.Logger)
    ]
    assert {
        "turnlatch.turns",
        "turnlatch.faults",
        "turnlatch.caller",
        "turnlatch.store",
    } <= {*found}
    assert [name for name in found if f"`{name}`" not in told] == []
