"""An exception at every line of what makes events durable: not only where a conversation
waits, but anywhere an interrupt or a signal handler's exception can come from.

The conversation goes on in the same object, where its event loop lives; and it is opened
again from its store. In both cases nothing that was confirmed is lost, no effect happens
twice, and later messages are confirmed.
"""

import ast
import dis
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Final, final

import anyio
import pytest
from tests.around import SuspendingStore
from tests.sweeps import foreseeing, quick
from tests.sweeps.sweep import Tally, spread

from turnlatch import Conversation, JournalError
from turnlatch.journal import (
    SQLiteStore,
    database,
    handle,
    lease,
    memory,
    records,
    sqlite,
)
from turnlatch.journal import tail_anchor as anchor
from turnlatch.ports import Store
from turnlatch.runtime import loop as driver
from turnlatch.runtime import opening, record
from turnlatch.runtime import unsaved as kept
from turnlatch.runtime.loop import Driver

Tallies = Callable[[str], Tally]


class Unforeseen(Exception):
    """What a signal handler of somebody's raises."""


RAISED: Final[tuple[type[BaseException], ...]] = (
    KeyboardInterrupt,
    SystemExit,
    Unforeseen,
)

COMES_OUT: Final = (*RAISED, JournalError, BaseExceptionGroup)
"""What may come out of a conversation then; a group where a tool's task was hit."""

MODULES: Final[tuple[ModuleType, ...]] = (
    driver, record, kept, opening, anchor, database, handle, lease, memory, records, sqlite
)  # fmt: skip

FILES: Final = {str(module.__file__) for module in MODULES}


@cache
def _exits(code: CodeType) -> dict[int, int]:
    """The lines of `with` statements in a function, each with its first instruction.

    Python passes such a line again where the block ends. There is no moment there at
    which a signal handler can run before the block is left, but a tracer is called.
    """
    source = ast.parse(Path(code.co_filename).read_text("utf-8"))
    lines = {
        line
        for node in ast.walk(source)
        if isinstance(node, ast.With | ast.AsyncWith)
        for line in range(node.lineno, node.body[0].lineno)
    }
    firsts: dict[int, int] = {}
    for offset, line in dis.findlinestarts(code):
        if line in lines:
            firsts.setdefault(line, offset)
    return firsts


@final
class Lines:
    """Raises at the nth line that runs inside, and counts them.

    Attributes:
        count: Lines that were passed.
        where: The line at which it raised.
    """

    def __init__(self, nth: int, error: type[BaseException]) -> None:
        self.count = 0
        self.where = ""
        self._nth = nth
        self.error = error

    def __enter__(self) -> "Lines":
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._line if frame.f_code.co_filename in FILES else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        first = _exits(frame.f_code).get(frame.f_lineno, frame.f_lasti)
        if event == "line" and frame.f_lasti == first:
            self.count += 1
            if self.count == self._nth:
                name = Path(frame.f_code.co_filename).name
                self.where = f"{name}:{frame.f_lineno} in {frame.f_code.co_name}"
                raise self.error
        return self._line


SAID: Final = ("one", "pay two", "three")


@final
class Run:
    """One conversation that is interrupted once.

    Attributes:
        confirmed: What was said and seen to be confirmed.
        effects: For what the tool ran.
    """

    def __init__(self, store: Path, *, suspends: bool) -> None:
        self._store = store
        self._suspends = suspends
        self.confirmed: list[str] = []
        self.effects: list[str] = []

    def through(self, lines: Lines) -> None:
        """From opening to closing."""
        with suppress(*COMES_OUT), lines:
            anyio.run(self._talk)

    async def _talk(self) -> None:
        if not self._suspends:
            return await self._talk_on(self._store)
        store = SQLiteStore(self._store)
        try:
            await self._talk_on(SuspendingStore(store))
        finally:
            store.close()

    async def _talk_on(self, store: Path | Store) -> None:
        tools = [quick.payer(self.effects.append)]
        async with Conversation.open(
            quick.NAME, store=store, client=quick.Quick(), tools=tools
        ) as chat:
            for text in SAID:
                with suppress(*COMES_OUT):
                    await self._say(chat, text)
            # The same object goes on, whatever it was in the middle of.
            await self._say(chat, "four")
            assert self.confirmed[-1] == "four"
            assert chat.unsaved == 0

    async def _say(self, chat: Conversation, text: str) -> None:
        turn = await chat.send(text)
        if str(turn.state) == "confirmed":
            self.confirmed.append(text)


def _interrupted(folder: Path, nth: int, *, suspends: bool = False) -> Lines:
    """Interrupt a conversation at its nth line, and ask everything of what is left."""
    folder.mkdir(exist_ok=True)
    run = Run(folder / "chat.db", suspends=suspends)
    lines = Lines(nth, RAISED[nth % len(RAISED)])
    try:
        run.through(lines)
        quick.check(folder / "chat.db", run.confirmed, run.effects)
    except BaseException as error:
        error.add_note(f"{lines.error.__name__} at line {nth}: {lines.where}")
        raise
    finally:
        shutil.rmtree(folder)
    return lines


def _sweep(
    folder: Path, few: int, full: bool, count: Tally, *, suspends: bool = False
) -> None:
    lines = _interrupted(folder / "counted", 0, suspends=suspends).count
    points = range(1, lines + 1)
    for nth in points if full else spread(points, few):
        _interrupted(folder / str(nth), nth, suspends=suspends)
        count.add("points")


@pytest.mark.parametrize("suspends", [False, True], ids=["in place", "away"])
def test_an_exception_at_every_line_that_makes_events_durable(
    folder: Path, full: bool, tally: Tallies, suspends: bool
) -> None:
    """Also where appends suspend: whatever line it comes at, the next append is made."""
    where = "away" if suspends else "in place"
    count = tally(f"an exception at every line, commits {where}")
    _sweep(folder, 20 if suspends else 35, full, count, suspends=suspends)


@pytest.mark.spoils_journals("the planted append saves events twice")
def test_an_append_that_foresees_its_errors_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: any other exception leaves committed events unsaved."""
    monkeypatch.setattr(Driver, "_flush", foreseeing.flush)

    def until_seen() -> None:
        for few in (25, 50, 100, 400):
            _sweep(folder, few, False, Tally("planted"))

    with pytest.raises(AssertionError):
        until_seen()
