"""Where one of our turns spends its time.

Everything is timed where it stands, within whole turns: the journal and the model by a
port around the port, and what the driver calls by a stopwatch around the name it calls
it by. Timed in a loop of their own the same functions take half as long, because there
the processor has nothing else to remember. What no part accounts for is the driver, the
feed and the scheduler.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import ParamSpec, TypeVar, final

from benchmarks.engine import open_conversation, write_history
from benchmarks.material import Case, text
from benchmarks.plan import Plan
from benchmarks.references import make_client
from benchmarks.report import Report, Span
from benchmarks.server import InstantServer
from turnlatch import Conversation, sending
from turnlatch.journal import SQLiteStore
from turnlatch.ports import Delta, Entry, Journal, Listing, Model, Store
from turnlatch.runtime import record
from turnlatch.sdk import SdkModel
from turnlatch_states.api.reply import Reply
from turnlatch_states.effects import next_effect, requests
from turnlatch_states.machine.events import Event
from turnlatch_states.request.build import Request

_MODEL = "request and reply: the model port, the SDK, the server"
_DELTAS = "publishing the deltas"
_COMMIT = "commits: the journal"
_STEP = "the machine: step"
_ROOM = "is there room"
_CHECK = "checking what is staged"
_BUILD = "building the request"
_BLOCKS = "encoding the content"
_TELL = "telling the watchers"
_REST = "the rest: driver, feed, scheduler"

_NAMES: tuple[tuple[ModuleType, str, str], ...] = (
    (record, "step", _STEP),
    (next_effect, "prepare", _ROOM),
    (next_effect, "staged_fault", _CHECK),
    (requests, "build", _BUILD),
    (record, "publish_entry", _TELL),
    (sending, "user_blocks", _BLOCKS),
)
"""What is timed under which name: the module that calls it, and the name there."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


@final
class _Ledger:
    """What each part has taken since it was last asked, in microseconds."""

    def __init__(self) -> None:
        self._taken: dict[str, float] = {}

    def add(self, part: str, seconds: float) -> None:
        """Add time to a part."""
        self._taken[part] = self._taken.get(part, 0.0) + seconds * 1e6

    def take(self) -> Mapping[str, float]:
        """What was added since the last time."""
        taken, self._taken = self._taken, {}
        return taken


@final
class _TimedModel:
    """A model port that says how long the one behind it took."""

    def __init__(self, inner: Model, ledger: _Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        """Send it with the model behind this one."""
        published = 0.0

        def timed(delta: Delta) -> None:
            nonlocal published
            began = time.perf_counter()
            report(delta)
            published += time.perf_counter() - began

        began = time.perf_counter()
        reply = await self._inner.send(request, timed)
        self._ledger.add(_MODEL, time.perf_counter() - began - published)
        if published:
            self._ledger.add(_DELTAS, published)
        return reply

    async def count(self, request: Request) -> int:
        """Count it with the model behind this one."""
        return await self._inner.count(request)

    async def aclose(self) -> None:
        """Close the model behind this one."""
        await self._inner.aclose()


@final
class _TimedJournal:
    """A journal that says how long the one behind it took to append."""

    def __init__(self, inner: Journal, ledger: _Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    @property
    def name(self) -> str:
        """The conversation it belongs to."""
        return self._inner.name

    @property
    def sequence(self) -> int:
        """Sequence of the last entry."""
        return self._inner.sequence

    async def append(self, events: Sequence[Event]) -> None:
        """Make events durable."""
        began = time.perf_counter()
        await self._inner.append(events)
        self._ledger.add(_COMMIT, time.perf_counter() - began)

    def entries(self, after: int = 0) -> Sequence[Entry]:
        """What is recorded after that sequence."""
        return self._inner.entries(after)

    def close(self) -> None:
        """Give the conversation back."""
        self._inner.close()


@final
class _TimedStore:
    """A store whose journals say how long their appends take."""

    def __init__(self, inner: Store, ledger: _Ledger) -> None:
        self._inner = inner
        self._ledger = ledger

    def open(self, name: str) -> Journal:
        """Take the writer's lease on a conversation."""
        return _TimedJournal(self._inner.open(name), self._ledger)

    def read(self, name: str) -> Sequence[Entry]:
        """All entries of a conversation."""
        return self._inner.read(name)

    def fork(self, parent: str, name: str, sequence: int) -> None:
        """Make `name` begin as `parent` stands there."""
        self._inner.fork(parent, name, sequence)

    def conversations(self) -> Sequence[Listing]:
        """Every conversation."""
        return self._inner.conversations()

    def close(self) -> None:
        """Give back what the store opened."""
        self._inner.close()


async def measure(plan: Plan, server: InstantServer, folder: Path) -> Report:
    """Take plain and streamed turns apart, at the smallest and a middling size."""
    spans: dict[str, Sequence[Span]] = {}
    for case in (Case.PLAIN, Case.CHUNKS):
        for size in sorted({plan.sizes[0], min(1_000, plan.sizes[-1])}):
            path = folder / f"spans-{case}-{size}.db"
            name = f"{case.words}, {size:,} messages"
            spans[name] = await _apart(plan, server.url(case), path, case, size)
    return Report(spans=spans)


async def _apart(
    plan: Plan, url: str, path: Path, case: Case, size: int
) -> Sequence[Span]:
    ledger = _Ledger()
    client = make_client(url)
    model = _TimedModel(SdkModel(client), ledger)
    store = _TimedStore(SQLiteStore(path), ledger)
    write_history(store, "spans", size, case)
    turns: list[Mapping[str, float]] = []
    wholes: list[float] = []
    try:
        async with open_conversation("spans", store, model, case) as chat:
            await _take(chat, text(0), case)
            ledger.take()
            with _timed_names(ledger):
                for number in range(plan.span_turns):
                    began = time.perf_counter()
                    await _take(chat, text(number), case)
                    wholes.append((time.perf_counter() - began) * 1e6)
                    turns.append(ledger.take())
    finally:
        store.close()
        await client.close()
    parts = {
        part: median(turn.get(part, 0.0) for turn in turns)
        for part in (_MODEL, _DELTAS, _COMMIT, *(part for _, _, part in _NAMES))
    }
    whole = median(wholes)
    parts[_REST] = whole - sum(parts.values())
    found = [Span(p, took, took / whole) for p, took in parts.items() if took]
    found.sort(key=lambda span: -span.micros)
    return (*found, Span("the whole turn", whole, 1.0))


async def _take(chat: Conversation, said: str, case: Case) -> None:
    if not case.streams:
        (await chat.send(said)).raise_for_failure()
        return
    stream = chat.stream(said)
    async for _ in stream:
        pass
    (await stream.turn()).raise_for_failure()


@contextmanager
def _timed_names(ledger: _Ledger) -> Generator[None]:
    """Put a stopwatch around what the driver calls, where it calls it."""
    known = [(module, name, getattr(module, name)) for module, name, _ in _NAMES]
    for module, name, part in _NAMES:
        setattr(module, name, _timed(ledger, part, getattr(module, name)))
    try:
        yield
    finally:
        for module, name, function in known:
            setattr(module, name, function)


def _timed(ledger: _Ledger, part: str, function: Callable[_P, _T]) -> Callable[_P, _T]:
    def timed(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            ledger.add(part, time.perf_counter() - began)

    return timed
