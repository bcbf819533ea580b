"""The world in which a script of the fuzzer is played.

The real SDK, the strict simulator with the recorder beside it, a store in memory or in a
file, a clock that never waits. Two things are made for the fuzzer:

- every call of the model carries a mark that no other call has (see `fuzz_tools`);
- a trap lies at points that are counted while a move is played: before and behind each
  request, at every piece of a reply, around the effect of each tool, and in each wait.
  What springs it there cuts the move short, or says something.
"""

import random
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final, final

import anthropic
import attrs
import httpx2
from tests.around import append_now
from tests.gauntlet.fuzz_script import Play, stopping
from tests.gauntlet.fuzz_tools import HERE, MORE, TOOLS, Deeds, Trap
from tests.harness.recorder import Recorder, WholeReply, probes
from tests.harness.world import client_over

from turnlatch import Conversation, RetryPolicy, Tool
from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.ports import Model, Store
from turnlatch.sdk import SdkModel
from turnlatch.simulator import (
    Answer,
    ClientCall,
    Redacted,
    Seeded,
    Simulator,
    Text,
    refuse,
)
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch.simulator.wire import Json
from turnlatch.testing import SeededIds, VirtualClock
from turnlatch_states.machine.events import Event

Wrap = Callable[[Model], Model]
"""Puts something between the engine and the port: a planted bug."""

LONG_TEXT: Final = "It was long and it went on and on, as such things do. " * 110


@final
class TrapClock:
    """The virtual clock, with a point in each sleep."""

    def __init__(self, clock: VirtualClock, trap: Trap) -> None:
        self._clock = clock
        self._trap = trap

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Jump ahead."""
        await self._trap.point()
        await self._clock.sleep(seconds)


@final
class _Trapped(httpx2.AsyncBaseTransport):
    """A transport with points before, behind and within each answer."""

    def __init__(self, inner: SimulatorTransport, world: "FuzzWorld") -> None:
        self._inner = inner
        self._world = world

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        trap, recorder = self._world.trap, self._world.recorder
        await trap.point()
        known = len(recorder.replies)
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.TimeoutException:
            # The headers came too late: a whole reply, and nobody was there any more.
            self._world.unheard.update(r.message_id for r in recorder.replies[known:])
            raise
        await trap.point()
        body = response.stream
        assert isinstance(body, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_TrappedBody(body, trap),
            extensions=response.extensions,
            request=request,
        )


@final
class _TrappedBody(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, trap: Trap) -> None:
        self._inner = inner
        self._trap = trap

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            await self._trap.point()
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


@final
class Marking:
    """The model of a script: made up from its seed, in a mood, its calls marked.

    Attributes:
        calm: Plain words to everything from now on.
        moods: How often it did what a good model does not.
        probing: Whether what is asked now is a trial: then plain words, too.
    """

    def __init__(self, seed: int, *, moody: bool) -> None:
        self._seeded = Seeded(seed, tool_use=0.6)
        self._moody = moody
        self._marks = 0
        self.calm = False
        self.moods = 0
        self.probing: Callable[[], bool] = lambda: False

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """See `Responder.answer`."""
        if self.calm or self.probing() or request.get("max_tokens") == 1:
            return Answer((Text("Very well."),))
        made = self._seeded.answer(request, rng)
        if self._moody and "tools" in request and rng.random() < 0.3:
            self.moods += 1
            made = self._in_a_mood(made, rng)
        parts = tuple(
            self._marked(p) if isinstance(p, ClientCall) else p for p in made.parts
        )
        return attrs.evolve(made, parts=parts)

    def _in_a_mood(self, made: Answer, rng: random.Random) -> Answer:
        match rng.randrange(6):
            case 0:
                return refuse()
            case 1:
                return attrs.evolve(made, stop_reason="max_tokens")
            case 2:
                return attrs.evolve(made, stop_reason="model_context_window_exceeded")
            case 3:
                return attrs.evolve(made, stop_reason="a_reason_of_tomorrow")
            case 4:
                return Answer((), "end_turn")
            case _:
                return attrs.evolve(made, parts=(Redacted(), *made.parts))

    def _marked(self, call: ClientCall) -> ClientCall:
        self._marks += 1
        return attrs.evolve(call, input={**call.input, "mark": f"m{self._marks}."})


@final
class FuzzWorld:
    """Everything around one conversation.

    Attributes:
        deeds: What the tools did.
        ledger: How often each mark was carried out.
        unheard: Ids of the whole replies that certainly nobody read.
        chat: The conversation, open.
    """

    def __init__(self, play: Play, folder: Path, wrap: Wrap | None = None) -> None:
        self.setting = play.setting
        self.folder = folder
        self.clock = VirtualClock()
        self.began = self.clock.now()
        self.trap = Trap()
        self.deeds = Deeds(self.trap)
        HERE.set(self.deeds)  # of this task, and of all that it begins
        self.deeds.status = self._status
        self.ledger = self.deeds.ledger
        self.unheard: set[str] = set()
        self.model = Marking(play.setting.seed, moody=play.setting.moody)
        self.simulator = Simulator(
            self.model,
            seed=play.setting.seed,
            faults=stopping(play.faults),
            rules_off=frozenset(filter(None, play.setting.off.split("+"))),
            clock=self.clock.now,
        )
        self.recorder = Recorder(self.simulator)
        self._wrap = wrap
        self._client: anthropic.AsyncAnthropic | None = None
        self._stores = 0
        self.store: Path | Store = MemoryStore()
        if play.setting.store == "sqlite":
            self.store = folder / "chat.db"
        self.chat = self._opened(
            "a",
            self.store,
            model=play.setting.model,
            threads=play.setting.threads,
            cache=play.setting.cache,
            system="You are somebody who helps.",
        )
        self.recorder.probing = self.model.probing = self._probing

    def _probing(self) -> bool:
        return probes(self.chat)

    def client(self) -> object:
        """The SDK over the trapped transport, or a port around it."""
        if self._client is None:
            inner = SimulatorTransport(self.recorder.handed_out, sleep=self.clock.sleep)
            self._client = client_over(_Trapped(inner, self))
        if self._wrap is None:
            return self._client
        return self._wrap(SdkModel(self._client, now=self.clock.now))

    def _opened(
        self, name: str, store: "Path | Store", client: object = None, **options: Any
    ) -> Conversation:
        self.deeds.process += 1
        return Conversation.open(
            name,
            store=store,
            client=client or self.client(),
            clock=TrapClock(self.clock, self.trap),
            ids=SeededIds(self.setting.seed),
            tools=self._tools(),
            retry=RetryPolicy(attempts_max=self.setting.attempts),
            **options,
        )

    def _tools(self) -> tuple[Tool, ...]:
        more = filter(None, self.setting.tools.split("+"))
        return (*TOOLS, *(MORE[name] for name in more))

    def _status(self, key: str) -> str | None:
        turn = self.chat.snapshot.turn
        calls = () if turn is None else turn.calls
        return next((call.state.value for call in calls if call.key == key), None)

    def again(
        self, name: str, store: "Path | Store | None" = None, client: object = None
    ) -> Conversation:
        """The conversation as a next process opens it."""
        return self._opened(name, store or self.store, client)

    async def close(self) -> None:
        """Leave nothing open."""
        await self.chat.close()
        await self.deeds.release()
        if self._client is not None:
            await self._client.close()

    # Stores.

    def events(self, name: str) -> list[Event]:
        """Everything that is recorded of a conversation."""
        if not isinstance(self.store, Path):
            return [entry.event for entry in self.store.read(name)]
        store = SQLiteStore(self.store)
        try:
            return [entry.event for entry in store.read(name)]
        finally:
            store.close()

    def in_memory(self) -> MemoryStore:
        """What the record says now, in a store of its own."""
        if isinstance(self.store, Path):
            store: Store = SQLiteStore(self.store)
            try:
                return _in_memory(store)
            finally:
                store.close()
        return _in_memory(self.store)

    def copied(self) -> "Path | Store":
        """The record as a process that dies now leaves it.

        A file is copied by another process: this one would lose its locks on it.
        """
        if not isinstance(self.store, Path):
            return self.in_memory()
        self._stores += 1
        folder = self.folder / f"copy {self._stores}"
        folder.mkdir()
        files = [
            str(one)
            for one in self.store.parent.glob(f"{self.store.name}*")
            if not one.name.endswith("-shm")
        ]
        subprocess.run(["cp", "-p", *files, str(folder)], check=True)
        return folder / self.store.name

    # What happened, as everybody but the engine saw it.

    @property
    def sent(self) -> int:
        """How many requests were sent to POST /v1/messages."""
        log = self.simulator.log
        return sum(one.path.endswith("/v1/messages") for one in log)

    def replies(self, start: int = 0) -> Sequence[WholeReply]:
        """The whole replies of messages, from that number on, that are to be history."""
        return [
            one
            for one in self.recorder.replies[start:]
            if one.confirms and not is_told(one) and one.message_id not in self.unheard
        ]


def is_told(reply: WholeReply) -> bool:
    """Whether it answers a request for a summary that was put as a message."""
    opening = b'{"type":"text","text":"['
    named = (b"Record]\\n", b"Summary of what came before]\\n")
    return any(reply.user.startswith(opening + name) for name in named)


def _in_memory(store: Store) -> MemoryStore:
    fresh = MemoryStore()
    for listing in store.conversations():
        journal = fresh.open(listing.name)
        append_now(journal, [entry.event for entry in store.read(listing.name)])
        journal.close()
    return fresh
