"""The sync twin in real processes: a real Ctrl-C, and real forks."""

import os
import signal
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests import warm

from turnlatch import ForkedProcessError, JournalError, TurnState, sync
from turnlatch.journal import SQLiteStore
from turnlatch.runtime.engine_thread import EngineThread
from turnlatch.simulator import Seeded, Simulator
from turnlatch.simulator.transport import simulated_client

SECONDS = 30
"""A child that takes longer hangs."""

# Ctrl-C.

PRELUDE = """
import signal, sys, threading
from concurrent.futures import Future
import anyio
from turnlatch import tool
from turnlatch import CallStarted, Recorded
from turnlatch.simulator import Scripted, Simulator, call
from turnlatch.simulator.transport import simulated_client
from turnlatch.sync import Conversation

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started it ignores it

def awaited():
    '''What the main thread waits for, of what has not come yet.'''
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None:
        if isinstance(future := frame.f_locals.get("self"), Future):
            return None if future.done() else future
        frame = frame.f_back
    return None

async def until_it_waits():
    '''Until the main thread waits for what does not come: all else that the loop
    has for it would have come in so many of its rounds.'''
    rounds, before = 0, None
    while rounds < 200:
        await anyio.sleep(0)
        now = awaited()
        rounds = rounds + 1 if now is not None and now is before else 0
        before = now

@tool
async def hang() -> str:
    'Hang.'
    await until_it_waits()
    print("ready", flush=True)
    await anyio.sleep_forever()
    return ""

client = simulated_client(Simulator(Scripted([call("hang"), "Two.", "Three."])))

def other(started):
    '''Somebody else's turn, in another thread.'''
    def run():
        turn = chat.send("theirs")
        print("theirs", turn.state.value, flush=True)
    thread = threading.Thread(target=run)
    watch = chat.watch()
    thread.start()
    for event in watch:
        if isinstance(event, Recorded) and isinstance(event.event, CallStarted):
            return thread

with Conversation.open("a", client=client, tools=[hang]) as chat:
    try:
"""

COURSES = {
    "send": ('chat.send("Go")', "stopped failed\nTwo.\n"),
    "stream": ('list(chat.stream("Go"))', "stopped failed\nTwo.\n"),
    "turn": ('chat.stream("Go").turn()', "stopped failed\nTwo.\n"),
    "block": (
        'with chat.stream("Go") as stream:\n    list(stream)',
        "stopped failed\nTwo.\n",
    ),
    # Nobody's turn: the wait alone ends.
    "watch": (
        'watch = chat.watch()\nprint("ready", flush=True)\nfor _ in watch: pass',
        "stopped None\n\n",
    ),
}
AFTER = """
    except KeyboardInterrupt:
        print("stopped", chat.state and chat.state.value, flush=True)
    turn = chat.send("Next") if sys.argv[1] != "watch" else None
    print(turn.text if turn else "", flush=True)
"""


def interrupted(name: str, work: str, after: str = AFTER) -> tuple[str, int]:
    """Press Ctrl-C where it says that it is ready; what it printed then."""
    program = PRELUDE + textwrap.indent(work, " " * 8) + after
    process = warm.Spoken(["-c", program, name])
    try:
        assert process.stdout.readline() == "ready\n"
        process.child.send_signal(signal.SIGINT)
        status = process.child.wait(SECONDS)
        return process.stdout.read(), status
    finally:
        process.end()


@pytest.mark.parametrize("name", COURSES)
def test_ctrl_c_ends_what_was_waited_for_and_the_conversation_goes_on(
    name: str,
) -> None:
    work, expected = COURSES[name]
    assert interrupted(name, work) == (expected, 0)


QUEUED = """
    except KeyboardInterrupt:
        print("stopped", chat.state.value, len(chat.history), flush=True)
    chat.interrupt()
    thread.join()
"""


@pytest.mark.parametrize("method", ["send", "stream"])
def test_ctrl_c_of_a_waiting_send_withdraws_its_message_only(
    method: str,
) -> None:
    wait = f"thread = other(None)\n{'list' if method == 'stream' else ''}"
    said, status = interrupted("queued", f'{wait}(chat.{method}("mine"))', QUEUED)
    assert status == 0
    # Their turn still runs when the Ctrl-C is over, and ends as somebody asks for it.
    assert said == "stopped confirmed 1\ntheirs failed\n"


# Forks.

Use = Callable[[sync.Conversation], object]

METHODS: dict[str, Use] = {
    "send": lambda chat: chat.send("x"),
    "stream": lambda chat: list(chat.stream("x")),
    "stream.turn": lambda chat: chat.stream("x").turn(),
    "stream_retry": lambda chat: list(chat.stream_retry()),
    "stream_approve": lambda chat: list(chat.stream_approve("x")),
    "stream_deny": lambda chat: list(chat.stream_deny("x")),
    "retry": lambda chat: chat.retry(),
    "abandon": lambda chat: chat.abandon(),
    "interrupt": lambda chat: chat.interrupt(),
    "compact": lambda chat: chat.compact(),
    "approve": lambda chat: chat.approve("x"),
    "deny": lambda chat: chat.deny("x"),
    "steer": lambda chat: chat.steer("x"),
    "configure": lambda chat: chat.configure(max_tokens=7),
    "pin": lambda chat: chat.pin("x", "y"),
    "unpin": lambda chat: chat.unpin("x"),
    "rewind": lambda chat: chat.rewind(),
    "fork": lambda chat: chat.fork("other"),
    "watch": lambda chat: next(chat.watch()),
    "__enter__": lambda chat: chat.__enter__(),
}
"""Every method that does something."""

QUIET: dict[str, Use] = {
    "close": lambda chat: chat.close(),
    "__exit__": lambda chat: chat.__exit__(None, None, None),
}

VALUES = {
    "substate",
    "check",
    "cursor",
    "diagram",
    "endpoint",
    "history",
    "live",
    "lost",
    "messages",
    "name",
    "pins",
    "prefix_change",
    "profile",
    "simulated",
    "snapshot",
    "state",
    "turn",
    "unsaved",
    "usage",
}
"""What is read without the engine's thread: as it stood at the fork."""

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*:DeprecationWarning"  # Python's own word about forks
)


def opened(folder: Path) -> sync.Conversation:
    client = simulated_client(Simulator(Seeded(1)))
    return sync.Conversation.open("c", store=folder / "chat.db", client=client)


def in_child(use: Callable[[], object]) -> str:
    """What a forked child said, or `hung`."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            said = f"{use()}"
        except BaseException as error:  # noqa: BLE001 - the child says it, and ends
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return "hung" if os.WIFSIGNALED(status) else said


def test_every_public_name_is_a_method_or_a_value() -> None:
    public = {name for name in dir(sync.Conversation) if not name.startswith("_")}
    methods = {name for name in METHODS if name.isidentifier() and name[0] != "_"}
    assert public == methods | VALUES | {"close", "open"}


def test_in_a_forked_child_every_method_says_so_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as chat:
        chat.send("one")
        stream, watch = chat.stream("never"), chat.watch()

        def use() -> str:
            said: set[str] = set()
            uses: dict[str, Use] = {
                **METHODS,
                "next(stream)": lambda _: next(stream),
                "next(watch)": lambda _: next(watch),
                "stream.__enter__": lambda _: stream.__enter__(),
                "stream.__exit__": lambda _: stream.__exit__(None, None, None),
            }
            for name, method in uses.items():
                try:
                    said.add(f"{name}: {method(chat)}")
                except ForkedProcessError as error:
                    said.add(str(error))
            for name in VALUES:
                value = getattr(chat, name)
                if callable(value):
                    value()
            return "\n".join(said)

        said = in_child(use)
        assert said.startswith("conversation 'c' was opened by process")
        assert "\n" not in said
        assert chat.send("two").state is TurnState.CONFIRMED
    assert len(SQLiteStore(tmp_path / "chat.db").read("c")) == 7


def test_closing_in_a_forked_child_does_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as chat:
        chat.send("one")
        for close in QUIET.values():
            assert in_child(partial(close, chat)) == "None"
        assert chat.send("two").state is TurnState.CONFIRMED


LEAVES = {
    "collected": "chat = None; gc.collect()",
    "exit in the block": "sys.exit(0)",
    "fork in a turn": "os.fork() or sys.exit(0)",
    "multiprocessing": """
context = multiprocessing.get_context("fork")
def target():
    try:
        chat.send("x")
    except ForkedProcessError:
        sys.exit(7)
process = context.Process(target=target)
process.start()
process.join(20)
assert process.exitcode == 7, process.exitcode
""",
}
PARENT = """
import gc, multiprocessing, os, signal, sys, warnings
from turnlatch import ForkedProcessError
from turnlatch.simulator import Seeded, Simulator
from turnlatch.simulator.transport import simulated_client
from turnlatch.sync import Conversation

warnings.simplefilter("ignore")
client = simulated_client(Simulator(Seeded(1)))
with Conversation.open("c", store=sys.argv[1], client=client) as chat:
    chat.send("one")
    mine = chat
    child = os.fork()
    if child == 0:
        signal.alarm(25)
        del mine
"""
CHILD_ENDS = """
        sys.exit(0)  # as a program ends: everything is taken down
    _, status = os.waitpid(child, 0)
    print("hung" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
    print(mine.send("two").state.value, flush=True)
"""


@pytest.mark.parametrize("how", LEAVES)
def test_a_child_that_ends_with_the_conversation_neither_hangs_nor_touches_the_store(
    how: str, tmp_path: Path
) -> None:
    program = PARENT + textwrap.indent(LEAVES[how], " " * 8) + CHILD_ENDS
    store = tmp_path / "chat.db"
    ran = warm.run(["-c", program, str(store)], timeout=2 * SECONDS)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == b"0\nconfirmed\n", ran.stderr
    assert b"Traceback" not in ran.stderr
    with opened(tmp_path) as chat:
        assert len(chat.history) == 2


def test_a_child_opens_its_own(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    with opened(tmp_path) as chat:
        chat.send("one")

        def use() -> str:
            with opened(tmp_path / "own") as own:
                return str(own.send("mine").state)

        assert in_child(use) == "confirmed"


def test_the_parents_store_is_refused_in_the_child(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chat.db")

    def use() -> str:
        with pytest.raises(JournalError, match="forked") as caught:
            store.open("c")
        return type(caught.value).__name__

    assert in_child(use) == "JournalError"
    store.close()


def test_the_checker_sees_a_child_that_waits_for_its_parents_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 2)
    with opened(tmp_path) as chat:
        chat.send("one")
        with monkeypatch.context() as planted:
            planted.setattr(EngineThread, "forked", False)
            assert in_child(lambda: chat.send("two")) == "hung"
            assert in_child(chat.close) == "hung"
