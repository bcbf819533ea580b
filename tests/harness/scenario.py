"""A scenario: one world, a fault, and everything that must hold once it has passed.

A file of the gauntlet is `test_<class>.py` with a row in `classes.py`. Its docstring says
the law in a sentence or two and names the public reports it was learnt from. A scenario
takes the fixture `scenario` and ends in `finish`; one that forgets to is failed:

    async def test_a_refused_request_moves_no_pointer(scenario: Scenario) -> None:
        scenario.script(call("act", what="a"), "Done.", faults="429 retry-after=2 @2")
        async with scenario.open() as chat:
            await chat.send("Go")
            await scenario.finish(
                chat, ended=CONFIRMED, effects={"act a": 1}, budget=3
            )

`scenario` is a `World`: `script` says what the model answers and what goes wrong, `open`
makes a conversation on the real SDK, the strict simulator and a real SQLite file; its
tools are `look`, `act`, `ask` and `hang`. A tool of your own notes what it does with
`scenario.note("paid 5")`. After the script is used up the model answers in plain words.

Requests are counted from 1 in the order in which they reach POST /v1/messages, by fault
scripts and by `finish` alike. Killing real processes is in `processes.py`.
"""

import json
import random
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from tests.harness.recorder import Gateway, Recorder, WholeReply, cut_request, probes
from tests.harness.world import World

from turnlatch import Conversation, FaultKind, Turn, TurnState
from turnlatch.simulator import (
    Answer,
    LoggedRequest,
    Scripted,
    Simulator,
    parse_faults,
    text,
)
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch.simulator.wire import Json
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.request.history import History

CONFIRMED: Final = TurnState.CONFIRMED
NEXT: Final = "And now?"

asyncio_only = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""For a scenario that costs a second: one event loop is enough."""

_KEPT = ("tools", "retry", "limits", "timeout", "idle_timeout", "compaction")
"""What a caller gives again at every opening; everything else is in the journal."""


class Scenario(World):
    """A world whose every scenario ends with the same questions."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ledger = self.folder / "ledger"
        self.finished = 0
        self._options: dict[str, dict[str, Any]] = {}
        self._chats: list[Conversation] = []
        self._listen(Simulator(Plain(), clock=self.clock.now))

    def _listen(self, simulator: Simulator, gateway: Gateway | None = None) -> None:
        self.simulator = simulator
        self.recorder = Recorder(simulator, gateway)
        self.recorder.probing = self._probing

    def _probing(self) -> bool:
        return any(map(probes, self._chats))

    def script(
        self,
        *answers: Answer | str,
        faults: str = "",
        summaries: Sequence[Answer | str] = (),
        gateway: Gateway | None = None,
        **simulator: Any,
    ) -> "Scenario":
        """Answer from a list, then in plain words, and misbehave as told.

        One simulator plays the whole scenario, so this comes before the first request.

        Args:
            answers: What the model says, one a request.
            faults: The fault script.
            summaries: What the model says to compactions.
            gateway: Changes the bytes of each event, and of each plain body.
            simulator: Further arguments of `Simulator`.
        """
        assert not self.simulator.log, "the scenario has begun; script it beforehand"
        self._listen(
            Simulator(
                Scripted(answers, then=Plain(), summaries=summaries, again=False),
                faults=parse_faults(faults),
                clock=self.clock.now,
                **simulator,
            ),
            gateway,
        )
        return self

    def transport(
        self,
        server: object = None,
        *,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> SimulatorTransport:
        """The way to the service, past the recorder."""
        return super().transport(server or self.recorder, sleep=sleep)

    def open(self, name: str = "a", **options: Any) -> Conversation:
        """A conversation in this world; `finish` opens it again the same way."""
        self._options[name] = options
        self._chats.append(super().open(name, **options))
        return self._chats[-1]

    async def while_it_hangs(
        self, chat: Conversation, text: str, then: Callable[[], Awaitable[object]]
    ) -> None:
        """Say something, and do something else once its call of `hang` has begun."""
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, text)
            await self.begun.wait()
            await then()

    async def cancelled_while_it_hangs(self, chat: Conversation, text: str) -> None:
        """Say something, and cancel the caller once its call of `hang` has begun."""
        async with anyio.create_task_group() as group:
            group.start_soon(chat.send, text)
            await self.begun.wait()
            group.cancel_scope.cancel()

    # What happened, as everybody but the engine saw it.

    def note(self, line: str) -> None:
        """Write into the ledger that something was done to the world."""
        with self.ledger.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @property
    def effects(self) -> Counter[str]:
        """What was done to the world and how often, by tools here and in children."""
        lines: list[str] = []
        with suppress(FileNotFoundError):
            lines = self.ledger.read_text(encoding="utf-8").splitlines()
        return Counter([*self.ran, *lines])

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """Every request to POST /v1/messages, in order."""
        log = self.simulator.log
        return tuple(one for one in log if one.path.endswith("/v1/messages"))

    def said(self, request: int) -> list[dict[str, Any]]:
        """The blocks of the last message of the request with that number."""
        body: Any = self.requests[request - 1].body
        return list(body["messages"][-1]["content"])

    def confirmed(
        self, history: Sequence[int] | None = None, unheard: Collection[int] = ()
    ) -> tuple[WholeReply, ...]:
        """The replies that must be the history, by the recorder's record.

        Args:
            history: Numbers of the requests whose replies they are; None for all.
            unheard: Numbers of requests whose whole reply nobody lived to read.
        """
        numbers = {e.number: at for at, e in enumerate(self.requests, start=1)}
        found = {
            numbers[one.request]: one for one in self.recorder.replies if one.confirms
        }
        if history is None:
            return tuple(one for at, one in found.items() if at not in unheard)
        missing = set(history) - found.keys()
        assert not missing, f"these requests brought no whole reply: {sorted(missing)}"
        return tuple(found[at] for at in history)

    # The end of every scenario.

    async def finish(
        self,
        chat: Conversation,
        *,
        ended: TurnState | FaultKind | None,
        effects: Mapping[str, int],
        budget: int,
        history: Sequence[int] | None = None,
        unheard: Collection[int] = (),
        summary: int | None = None,
        verbatim: bool = True,
        altered: Collection[int] = (),
        illegal: int = 0,
        patience: int = 1,
    ) -> Turn:
        """Ask everything that must hold, and close the conversation.

        Args:
            chat: The conversation, at rest after the faulty turn.
            ended: State of its last turn: `CONFIRMED`, or the kind of fault with which
                it failed; None if no turn was ever recorded.
            effects: What was done to the world and how often, all of it.
            budget: Most requests that all this may have cost so far.
            history: Numbers of the requests whose replies are the history, in order;
                by default every whole reply. For a rewound or forked conversation.
            unheard: Numbers of requests whose whole reply is not history, for a reason
                that the scenario is about: the client did not live to read it or read
                it too late, it had to be turned down, or it was a summary in words.
            summary: Number of the compaction request whose summary is in force.
            verbatim: The next request holds the stored bytes; False for a class in
                which the engine must send something else than it stores.
            altered: Numbers of the requests whose own message held something else than
                is stored of it: a note in the place of what a tool had returned.
            illegal: How many requests were refused without the script's doing.
            patience: Most requests that the next ordinary message may cost.

        Returns:
            The turn of the next ordinary message.
        """
        assert len(self.requests) <= budget, (
            f"{len(self.requests)} requests were sent, {budget} are allowed"
        )
        found = _ending(chat.turn)
        assert found == ended, f"the turn did not end as it should: {found!r}"
        self._check_effects(effects)
        before = self.confirmed(history, unheard)
        noted = [self._at(one) for one in altered]
        check_history(chat.history, before, noted)
        copied, rested = self.copied(), chat.snapshot

        start = len(self.requests)
        last = self._at(start)
        after = await chat.send(NEXT)
        assert after.state is CONFIRMED, f"the conversation is stuck: {after.fault}"
        cost = len(self.requests) - start
        assert cost <= patience, f"the next message cost more than it may: {cost}"
        new = (r for r in self.recorder.replies if r.confirms and r.request > last)
        now = (*before, *new)
        check_history(chat.history, now, noted)
        if verbatim:
            self._check_next(chat.history, before, start, summary)
        ending = chat.snapshot
        await chat.close()

        async with self.again(chat.name, self.store) as again:
            _check_reload(again, now, ending, noted)
        async with self.again(chat.name, copied) as again:
            _check_reload(again, before, rested, noted)
            said = self.requests[start].raw
            assert await self._next_request(again) == said, "a reload sends other bytes"
        self._check_effects(effects)
        rejected = self.simulator.unscripted_rejections()
        assert len(rejected) == illegal, [one.line for one in rejected]
        self.finished += 1
        return after

    def _at(self, count: int) -> int:
        """Number, among all exchanges, of the request with that count."""
        return self.requests[count - 1].number if count else 0

    def _check_effects(self, effects: Mapping[str, int]) -> None:
        found = self.effects
        assert found == Counter(effects), f"the effects are not as told: {found}"

    def _check_next(
        self,
        history: History,
        before: tuple[WholeReply, ...],
        start: int,
        summary: int | None,
    ) -> None:
        """The request of the next message begins with what was confirmed before it."""
        number = 0 if summary is None else self._at(summary)
        parts: list[bytes] = []
        for reply, stored in zip(before, history, strict=False):
            if reply.request > number:
                parts.append(_message("user", reply.user))
                parts.append(_message("assistant", stored.content))
        kept = b",".join(part for part in parts if part)
        sent, _ = cut_request(self.requests[start].raw)
        assert sent.endswith(kept), "other bytes were sent than were confirmed"
        head = sent[: len(sent) - len(kept)].rstrip(b",")
        if summary is None:
            assert head == b"", "more was sent than was confirmed"
        else:
            (told,) = [r.blocks for r in self.recorder.replies if r.request == number]
            assert json.loads(head)["content"] == list(told), "not the summary in force"

    async def _next_request(self, chat: Conversation) -> bytes:
        start = len(self.requests)
        await chat.send(NEXT)
        return self.requests[start].raw

    def again(self, name: str, store: Path) -> Conversation:
        """The conversation as a next process opens it, from that file."""
        given = self._options.get(name) or next(iter(self._options.values()))
        kept = {one: given[one] for one in _KEPT if one in given}
        return super().open(name, store=store, **kept)

    def copied(self, label: str = "") -> Path:
        """The store as it lies on the disk now, in a folder of that name beside it.

        Another process copies it: this one would lose its locks on the file by closing
        it a second time.
        """
        folder = self.folder / (label or f"copy {self.finished}")
        folder.mkdir()
        files = [
            str(one)
            for one in self.store.parent.glob(f"{self.store.name}*")
            if not one.name.endswith("-shm")
        ]
        subprocess.run(["cp", "-p", *files, str(folder)], check=True)
        return folder / self.store.name


def check_history(
    history: History, confirmed: Sequence[WholeReply], altered: Collection[int] = ()
) -> None:
    """Hold a history to what the simulator confirmed: no exchange more or less, and
    every byte of each as it travelled, but for the user's in altered requests."""
    held = [one.message_id for one in history]
    assert held == [one.message_id for one in confirmed], (
        f"not what was confirmed: {held} where the exchanges"
        f" {[(one.request, one.message_id) for one in confirmed]} were"
    )
    for stored, reply in zip(history, confirmed, strict=True):
        same = stored.user == reply.user or reply.request in altered
        assert same, "the user's blocks are not what was sent"
        if reply.raw is not None:
            assert stored.content == reply.raw, "the reply is not what came"
        blocks = stored.reply.blocks
        assert len(blocks) == len(reply.blocks), "the reply has other blocks"
        for mine, theirs in zip(blocks, reply.blocks, strict=True):
            if theirs.get("input", ...) is None:
                continue  # cut off inside: there is no value that both could have
            assert mine == theirs, "a block is not what came"


def _check_reload(
    again: Conversation,
    confirmed: Sequence[WholeReply],
    before: Snapshot,
    altered: Collection[int],
) -> None:
    """What stands in the file is what stood in memory."""
    assert again.state == before.state, "a reload gives another state"
    check_history(again.history, confirmed, altered)
    assert again.snapshot == before, "a reload gives another conversation"


def _ending(turn: Turn | None) -> TurnState | FaultKind | None:
    if turn is None:
        return None
    return turn.state if turn.fault is None else turn.fault.kind


def _message(role: str, blocks: bytes) -> bytes:
    if not blocks:
        return b""
    return b'{"role":"%b","content":[%b]}' % (role.encode(), blocks)


def beside(store: Path, tail: str) -> Path:
    """A file that belongs to a store: its `-wal`, its `-head`."""
    return store.with_name(store.name + tail)


class Plain:
    """A model that says the same plain words to everything."""

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """Say them."""
        del request, rng
        return text("Very well.")


async def for_ever(_: float) -> None:
    """Pass no delay of a script, so that what stalls really does."""
    await anyio.sleep_forever()
