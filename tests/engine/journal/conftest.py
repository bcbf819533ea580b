"""What the journal's tests share: stores, a conversation's events, real processes."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import pytest

from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.ports import Store
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.reply import Reply
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import (
    CallClosed,
    CallStarted,
    ConversationOpened,
    Event,
    ReplyConfirmed,
    RequestSent,
    TurnFailed,
    TurnOpened,
)
from turnlatch_states.request.profile import Profile

EVENTS: tuple[Event, ...] = (
    ConversationOpened(Profile("claude-sonnet-5-5", 1024, (("system", b'"Be kind"'),))),
    TurnOpened(1, b'{"type":"text","text":"hello"}', key="k-1"),
    RequestSent(1, 1),
    TurnFailed(1, 1, Fault(FaultKind.TRANSIENT, "overloaded", status=529)),
    RequestSent(1, 2),
    ReplyConfirmed(
        1, 2, Reply(b'{"type":"text","text":"\\ud83d hi"}', b'{"id": "msg_1" }')
    ),
    CallStarted(1, "toolu_1", "key-1"),
    CallClosed(1, "toolu_1", Closing.RESULT, b'{"type":"tool_result"}', b"\0\xffraw"),
)


@pytest.fixture
def events() -> tuple[Event, ...]:
    """Eight events of one conversation, of seven kinds."""
    return EVENTS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store can be made."""
    return tmp_path / "chat.db"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    """A new store of each sort."""
    made: Store = MemoryStore() if request.param == "memory" else SQLiteStore(path)
    yield made
    made.close()


Say: TypeAlias = Callable[[str], None]
Hear: TypeAlias = Callable[[], str]
Work: TypeAlias = Callable[[Say, Hear], None]


class Child:
    """A real process that runs `work` and talks over a pipe, line by line."""

    def __init__(self, work: Work, uid: int | None = None) -> None:
        mine, theirs = os.pipe(), os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _run(work, mine[1], theirs[0], uid)
        os.close(mine[1])
        os.close(theirs[0])
        self._in = os.fdopen(mine[0])
        self._out = os.fdopen(theirs[1], "w")
        self._waited = False

    def hear(self) -> str:
        """The next line it says; empty at its end."""
        return self._in.readline().rstrip("\n")

    def rest(self) -> list[str]:
        """Every whole line it still says, up to its end."""
        return [line[:-1] for line in self._in if line.endswith("\n")]

    def say(self, line: str) -> None:
        """Tell it something."""
        self._out.write(line + "\n")
        self._out.flush()

    def signal(self, number: int) -> None:
        """Send it a real signal."""
        os.kill(self.pid, number)

    def wait(self) -> None:
        """Collect it."""
        if not self._waited:
            self._waited = True
            os.waitpid(self.pid, 0)
            self._in.close()
            self._out.close()


def _run(work: Work, out: int, source: int, uid: int | None) -> NoReturn:
    lines = os.fdopen(source)

    def say(line: str) -> None:
        os.write(out, (line + "\n").encode())

    try:
        if uid is not None and os.getuid() == 0:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        work(say, lambda: lines.readline().rstrip("\n"))
    except BaseException as error:
        say(f"! {type(error).__name__}: {error}")
        raise
    finally:
        os._exit(0)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Makes processes, and leaves none behind."""
    made: list[Child] = []

    def make(work: Work, **options: Any) -> Child:
        made.append(Child(work, **options))
        return made[-1]

    yield make
    for one in made:
        if not one._waited:  # pyright: ignore[reportPrivateUsage] - its own helper
            one.signal(signal.SIGKILL)
            one.wait()
