"""The tools of the fuzzer, and the record of what they did.

Every call of the model carries a mark that no other call has, and its tool writes the
mark down; so it can be told of each call how often it was carried out. The number in the
mark says how a tool behaves that has several ways to. Whatever a tool waits for is a
point of the trap, an event, or a limit of a millisecond.
"""

import struct
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, final

import anyio
import anyio.lowlevel

from turnlatch import CorrectableToolError, Reconciled, TerminalToolError, Tool, tool

OLD_RESULT: Final = "A line of a file that says very little about anything. " * 60


def png(side: int = 600) -> str:
    """A picture's beginning, which is all that anybody looks at, as base64."""
    head = struct.pack(">II", side, side)
    return b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + head + b"\x08" * 60).decode()


IMAGE: Final = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": png()},
}

AT_ONCE: Final = 0.001
"""Seconds, real ones: the limit of what would never end by itself."""


@final
class Trap:
    """Things that happen at the n-th point of a move.

    Attributes:
        sprung: Whether one of them has cut the move short.
    """

    def __init__(self) -> None:
        self.sprung = False
        self._passed = 0
        self._laid: list[tuple[int, Callable[[], Awaitable[object]], bool]] = []

    def lay(
        self, at: int, spring: Callable[[], Awaitable[object]], *, cuts: bool = True
    ) -> None:
        """Do that at the n-th point of this move; it may cut the move short."""
        self._laid.append((at, spring, cuts))

    def clear(self) -> None:
        """Take everything away; the next move begins."""
        self.sprung, self._passed = False, 0
        self.disarm()

    def disarm(self) -> None:
        """Let nothing happen any more in this move."""
        self._laid.clear()

    async def point(self) -> None:
        """A point: a place where a cancellation comes, and where it may come from."""
        if not self._laid:
            return
        self._passed += 1
        due = [one for one in self._laid if one[0] <= self._passed]
        for one in due:
            self._laid.remove(one)
        for _, spring, cuts in due:
            self.sprung = self.sprung or cuts
            await spring()
        await anyio.lowlevel.checkpoint()


@final
class Deeds:
    """What the tools of one script did.

    Attributes:
        trap: Its points lie around each effect.
        ledger: How often each mark was carried out.
        keyed: What each keyed call that was carried out says of itself.
        terminals: How often a tool said that the turn cannot go on.
        process: How often the conversation was opened so far.
        status: The state of the call with that key, as the engine has it.
        broken: What a tool saw that must not be.
    """

    def __init__(self, trap: Trap) -> None:
        self.trap = trap
        self.ledger: Counter[str] = Counter()
        self.keyed: dict[str, str] = {}
        self.terminals = 0
        self.process = 0
        self.status: Callable[[str], str | None] = lambda _: None
        self.broken: list[str] = []
        self._read_in: defaultdict[str, set[int]] = defaultdict(set)
        self._let_go = anyio.Event()

    def do(self, mark: str, *, safe: bool = False) -> None:
        """Have the effect."""
        self.ledger[mark] += 1
        if safe:
            self._read_in[mark].add(self.process)

    def most(self, mark: str) -> int:
        """How often that call may have been carried out: once; what only reads may be
        read once by each process."""
        return max(len(self._read_in[mark]), 1)

    def asked_about(self, key: str) -> object:
        """The truth about a keyed call, for an engine that has not seen its end."""
        state = self.status(key)
        if state != "unknown":
            self.broken.append(f"a call that is {state} was reconciled")
        return self.keyed.get(key, Reconciled.NOT_DONE)

    async def released(self) -> None:
        """Wait until nobody waits for the tools any more."""
        await self._let_go.wait()

    async def release(self) -> None:
        """Let what was left to itself come to its end."""
        let_go, self._let_go = self._let_go, anyio.Event()
        let_go.set()
        for _ in range(4):
            await anyio.lowlevel.checkpoint()


HERE: Final[ContextVar[Deeds]] = ContextVar("deeds")
"""The record of the script that is played."""


async def _done(mark: str, *, safe: bool = False) -> None:
    deeds = HERE.get()
    await deeds.trap.point()
    deeds.do(mark, safe=safe)
    await deeds.trap.point()


def number(mark: str) -> int:
    """The number in a mark."""
    return int(mark.strip("m.") or 0)


# Declared once: making their schemas costs more than most scripts do.


@tool(effect="safe")
async def look(what: str, mark: str) -> str:
    """Look at something."""
    await _done(mark, safe=True)
    return f"{what} {mark} {OLD_RESULT}"


@tool(effect="once")
async def act(what: str, mark: str) -> str:
    """Do something that counts."""
    await _done(mark)
    return f"did {what} {mark}"


@tool(effect="ask")
async def ask(what: str, mark: str) -> str:
    """Do something a person decides."""
    await _done(mark)
    return f"did {what} {mark}"


@tool(effect="once")
async def fail(what: str, mark: str) -> str:
    """Try something that goes wrong."""
    await _done(mark)
    raise RuntimeError(f"no {what} {mark}")


@tool(effect="safe")
async def draw(what: str, mark: str) -> list[Any]:
    """Draw something."""
    await _done(mark, safe=True)
    return [{"type": "text", "text": f"{what} {mark}"}, IMAGE]


TOOLS: Final = (look, act, ask, fail, draw)
"""What every script has."""


async def _truth(key: str) -> object:
    return HERE.get().asked_about(key)


@tool(effect="ask", approval_timeout=60)
async def soon(what: str, mark: str) -> str:
    """Do something a person decides within a minute."""
    await _done(mark)
    return f"did {what} {mark}"


@tool(effect="once", reconcile=_truth)
async def settle(what: str, mark: str, idempotency_key: str) -> str:
    """Do something that can be asked about afterwards."""
    deeds = HERE.get()
    await deeds.trap.point()
    deeds.do(mark)
    deeds.keyed[idempotency_key] = f"did {what} {mark}"
    await deeds.trap.point()
    return f"did {what} {mark}"


@tool(effect="once", timeout=AT_ONCE, grace=AT_ONCE, reconcile=_truth)
async def lag(what: str, mark: str, idempotency_key: str) -> str:
    """Do something at once, or nothing, and never come back to tell."""
    deeds = HERE.get()
    if number(mark) % 2:
        deeds.do(mark)
        deeds.keyed[idempotency_key] = f"did {what} {mark}"
    with anyio.CancelScope(shield=number(mark) % 4 > 1):
        await deeds.trap.point()
        await deeds.released()
    return f"too late {mark}"


@tool(effect="once", grace=AT_ONCE)
async def deaf(what: str, mark: str) -> str:
    """Do something, and do not listen when told to stop."""
    deeds = HERE.get()
    with anyio.CancelScope(shield=True):
        if number(mark) % 2:
            deeds.do(mark)
        await deeds.trap.point()
        if deeds.trap.sprung:
            await deeds.released()
        if not number(mark) % 2:
            deeds.do(mark)
    return f"did {what} {mark}"


@tool(effect="once")
async def slip(what: str, mark: str) -> str:
    """Fail in a way that can be mended."""
    if number(mark) % 2:
        await _done(mark)
    raise CorrectableToolError(f"not like that: {what} {mark}")


@tool(effect="once")
async def quit(what: str, mark: str) -> str:
    """Fail in a way that ends the turn."""
    deeds = HERE.get()
    deeds.terminals += 1
    if number(mark) % 2:
        await _done(mark)
    raise TerminalToolError(f"it is over: {what} {mark}")


@tool(effect="once")
async def babble(what: str, mark: str) -> Any:
    """Do something, and say what nobody can use."""
    await _done(mark)
    return _GARBAGE[number(mark) % len(_GARBAGE)]


_ROUND: Final[list[Any]] = []
_ROUND.append(_ROUND)

_GARBAGE: Final[tuple[Any, ...]] = (
    b"\xff\xfe\x00 bytes",
    "\ud800 half a letter",
    "x" * 300_000,
    float("nan"),
    {"a": object(), "\udfff": [float("inf")]},
    [{"type": "text", "text": ""}, {"type": "text", "text": "\udfff"}],
    [{"type": "image", "source": {"type": "base64", "media_type": "x", "data": "!"}}],
    [{"type": "document", "source": None}, {"type": "tool_reference", "tool_name": 7}],
    "Not executed: says who was",
    "Interrupted, outcome unknown: says who knows",
    _ROUND,
    "",
    None,
    [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}] * 40,
)

MORE: Final[dict[str, Tool]] = {
    one.name: one for one in (soon, settle, lag, deaf, slip, quit, babble)
}
"""What a script has that names it."""

ACTS_ON_ODD: Final = frozenset({"slip", "quit"})
"""Tools that fail, and have their effect only where the mark's number is odd."""
