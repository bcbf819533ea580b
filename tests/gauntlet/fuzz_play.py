"""Playing a script, and what must hold while and after it is played.

After every move: the turn rests in a declared state and nothing is unsaved; the history
is what was there before and, byte for byte, the replies that the recorder saw whole since
then, no more and no less; no call was carried out twice, or for a reply that never came
whole; a turn kept to its budget; and a turn that failed had a reason to.

After the moves what does not last stops. Then the next ordinary message is confirmed
within `sends_max` sends; its request says the confirmed bytes; the same record, opened
elsewhere, gives the same snapshot and sends the same bytes; each result in the history
tells the truth about how often its call was carried out; and no request was refused that
the engine could have known to be illegal.

What it can know is what a body says by itself and what the server signed, which is every
rule but two: how long a conversation is (R31), which only the server counts, and what the
server still holds of a thread (the codes `thread_*`), which it may lose at any time. So a
request that continues a thread is held to the rules by itself, without what the thread
holds. A refusal that only a changed limit or a rule switched on explains is the script's
own doing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import anyio
import attrs
from tests.gauntlet.fuzz_script import (
    CUTS_SHORT,
    END_SECONDS,
    Move,
    Play,
    Verb,
    sends_max,
)
from tests.gauntlet.fuzz_tools import IMAGE
from tests.gauntlet.fuzz_truth import (
    BrokenPromiseError,
    check_effects,
    check_truth,
    hold,
)
from tests.gauntlet.fuzz_words import Words
from tests.gauntlet.fuzz_world import LONG_TEXT, FuzzWorld, Wrap, is_told
from tests.harness.recorder import WholeReply, cut_request
from tests.harness.scenario import check_history
from tests.harness.world import client_over

from turnlatch import (
    ApprovalError,
    Conversation,
    FaultKind,
    IllegalEventError,
    TurnState,
)
from turnlatch.journal import MemoryStore
from turnlatch.result import CallReport
from turnlatch.simulator import LoggedRequest, Simulator
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch_states.api.rules import Context, check
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.events import RemedyChosen
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.snapshot import Snapshot

NEXT: Final = "And now?"

REQUESTS_MAX: Final = 60
"""Most requests of one turn: what `Limits` grants."""

_UNDECIDED: Final = frozenset(CallState) - {CallState.STARTED, CallState.CLOSED}

_DRIVING: Final = frozenset(
    {
        *(Verb.SEND, Verb.STREAM, Verb.LONG, Verb.IMAGE, Verb.COMPACT, Verb.RETRY),
        *(Verb.STOP, Verb.HALT, Verb.CANCEL, Verb.BRANCH, Verb.REWIND, Verb.ABANDON),
    }
)
"""The verbs that bring a turn to rest, however it stood."""


@final
class FuzzPlayer:
    """One script, being played.

    Attributes:
        world: Its world.
        confirmed: How many exchanges were seen to be right, and their bytes.
    """

    def __init__(self, play: Play, folder: Path, wrap: Wrap | None = None) -> None:
        self.play = play
        self.world = FuzzWorld(play, folder, wrap)
        self.confirmed: tuple[bytes, ...] = ()
        self._heard = 0
        self._asked = 0
        self._name = "a"
        self._forks = 0
        self._words = Words()
        self._laid: list[Move] = []

    async def run(self) -> None:
        """Play the moves, let the faults stop, and ask everything."""
        world = self.world
        await world.chat.__aenter__()
        try:
            for number, move in enumerate(self.play.moves):
                await self._move(move, number)
            await self._end()
        finally:
            world.trap.clear()
            await world.close()

    # Moves.

    async def _move(self, move: Move, number: int) -> None:
        world, chat = self.world, self.world.chat
        seen, moods = len(world.simulator.log), world.model.moods
        before = chat.snapshot
        self._words.expect(move.verb, before)
        self._lay_words(move)
        try:
            if move.verb in CUTS_SHORT:
                await self._cut_short(move, number)
            else:
                await self._done(move, number)
        except IllegalEventError:
            hold(chat.snapshot == before, "what is illegal changes nothing", move)
            return
        finally:
            sprung = move.verb in CUTS_SHORT and world.trap.sprung
            world.trap.clear()
            await world.deeds.release()
        if move.verb is Verb.REWIND:
            size = len(world.chat.history)
            hold(size <= len(self.confirmed), "a rewind adds nothing")
            self.confirmed = self.confirmed[:size]
        self._check_rests(move, cut_short=sprung)
        self._check_history(at_most=1 if sprung else 0)
        self._check_effects()
        self._words.check(world.chat)
        calm = not sprung and moods == world.model.moods
        if calm and move.verb not in (Verb.RETRY, Verb.ABANDON, Verb.REWIND):
            self._check_reason(world.simulator.log[seen:], move)

    def _lay_words(self, move: Move) -> None:
        """What is said into a move is said at its points."""
        if move.verb is Verb.STEER:
            if move.at:
                self._laid.append(move)
            return
        laid, self._laid = self._laid, []
        for one in laid:

            async def say(word: str = one.word) -> None:
                await self._words.say(self.world.chat, word, running=True)

            self.world.trap.lay(one.at, say, cuts=False)

    async def _done(self, move: Move, number: int) -> None:
        chat, said = self.world.chat, f"Tell me about {move.word}, part {number}."
        waiting = chat.turn.awaiting if chat.turn is not None else ()
        match move.verb:
            case Verb.SEND:
                await chat.send(said)
            case Verb.STREAM:
                await chat.stream(said).turn()
            case Verb.LONG:
                await chat.send(f"{said} {LONG_TEXT}")
            case Verb.IMAGE:
                await chat.send([IMAGE, {"type": "text", "text": said}])
            case Verb.APPROVE if waiting:
                await self._approve(waiting[0])
            case Verb.DENY if waiting:
                await chat.deny(waiting[0].id)
            case Verb.RETRY:
                await chat.retry()
            case Verb.ABANDON:
                await chat.abandon()
            case Verb.COMPACT:
                await chat.compact()
            case Verb.REWIND:
                await chat.rewind()
            case Verb.FORK | Verb.BRANCH:
                await self._fork(said, stay=move.verb is Verb.BRANCH)
            case Verb.REOPEN:
                await self._reopen(self.world.store)
            case Verb.PIN:
                await chat.pin("what matters", said)
            case Verb.STEER if not move.at:
                await self._words.say(chat, move.word, running=False)
            case Verb.WAIT:
                await self.world.clock.sleep(float(move.word))
            case _:
                await self._configure(move)

    async def _approve(self, asked: CallReport) -> None:
        """Say yes: to another question, to this one, and to this one again."""
        world, chat = self.world, self.world.chat
        before, ran = chat.snapshot, world.ledger.copy()
        waiting, now = chat.turn.awaiting if chat.turn else (), world.clock.now()
        over = [one.id for one in waiting if one.expires and now >= one.expires]
        late = asked.id in over
        for digest in (asked.digest,) if late else ("another", asked.digest):
            try:
                await chat.approve(asked.id, digest=digest)
            except ApprovalError as error:
                refused = late or digest != asked.digest
                hold(refused, "a yes in time counts", error)
                hold(world.ledger == ran, "a yes that is refused runs nothing", error)
                same = chat.snapshot == before
                # What is over is denied as soon as anybody looks, whatever he says.
                hold(same or bool(over), "a wrong yes changes nothing")
            else:
                right = digest == asked.digest and not late
                hold(right, "a yes is for one question and in time", digest)
        try:
            await chat.approve(asked.id)
        except IllegalEventError:
            return
        hold(False, "a yes counts once", asked)

    async def _configure(self, move: Move) -> None:
        chat = self.world.chat
        match move.verb:
            case Verb.MODEL:
                await chat.configure(model=move.word)
            case Verb.THREADS:
                await chat.configure(threads=move.word)
            case Verb.CACHE:
                await chat.configure(cache=move.word)
            case Verb.TOKENS:
                await chat.configure(max_tokens=int(move.word))
            case _:
                pass

    async def _cut_short(self, move: Move, number: int) -> None:
        """A message that is stopped, cancelled, or outlived by the record alone."""
        world, chat = self.world, self.world.chat
        said = f"Tell me about {move.word}, part {number}."
        left: list[Path | Any] = []
        with anyio.CancelScope() as scope:

            async def die() -> None:
                world.trap.disarm()
                left.append(world.copied())
                scope.cancel()

            async def cancel() -> None:
                scope.cancel()

            match move.verb:
                case Verb.CRASH:
                    world.trap.lay(move.at, die)
                case Verb.CANCEL:
                    world.trap.lay(move.at, cancel)
                case _:
                    world.trap.lay(move.at, chat.interrupt)
            if move.verb is Verb.HALT:
                await chat.stream(said).turn()
            else:
                await chat.send(said)
        if left:
            await self._reopen(left[0], same=False)

    async def _reopen(self, store: "Path | Any", *, same: bool = True) -> None:
        """Go on as the next process does, from what is recorded there."""
        world, before = self.world, self.world.chat.snapshot
        await world.chat.close()
        world.store = store
        world.chat = world.again(self._name)
        await world.chat.__aenter__()
        if same:
            found = world.chat.snapshot
            hold(found == before, "a reload gives the same conversation", "reopened")
        await self._words.say_again(world.chat)

    async def _fork(self, said: str, *, stay: bool) -> None:
        world, parent = self.world, self.world.chat
        before = parent.snapshot
        self._forks += 1
        name = f"{self._name}.{self._forks}"
        child = parent.fork(name)
        await child.__aenter__()
        try:
            at = child.snapshot
            hold(at.history == before.history, "a fork begins as its parent stands")
            hold(at.profile == before.profile, "a fork has its parent's settings")
            if stay:
                await parent.close()
                world.chat, self._name, child = child, name, parent
                await world.chat.send(said)
                return
            mine, words = self.confirmed, self._words
            world.chat, self._words = child, words.copy()
            await child.send(said)
            self._check_history(at_most=0)
            self._words.check(child)
            world.chat, self.confirmed, self._words = parent, mine, words
            hold(parent.snapshot == before, "a fork leaves its parent as it was")
        finally:
            await child.close()

    # After every move.

    def _check_rests(self, move: Move, *, cut_short: bool) -> None:
        chat = self.world.chat
        hold(chat.unsaved == 0, "nothing is unsaved", move)
        turn = chat.snapshot.turn
        if turn is None:
            return
        hold(turn.state in ("confirmed", "failed"), "a turn rests", turn.state)
        hold(
            all(call.state in _UNDECIDED for call in turn.open_calls),
            "a call that was begun has its end",
            move,
        )
        waits = any(call.state is CallState.ASKED for call in turn.open_calls)
        if move.verb in _DRIVING:  # others leave it as it was, also as a crash left it
            hold(chat.snapshot.resting or waits, "a turn rests", move)
        spent = turn.requests
        hold(spent <= REQUESTS_MAX, "a turn keeps to its budget", spent)
        if cut_short and turn.fault is not None and not turn.abandoned:
            hold(turn.due is None, "a stopped turn waits for nothing", move)

    def _check_history(self, *, at_most: int) -> None:
        """The history is what was there, and what was confirmed since.

        Args:
            at_most: How many of the newest replies nobody need have heard.
        """
        world, history = self.world, self.world.chat.history
        wires = tuple(one.wire for one in history)
        known = len(self.confirmed)
        kept = wires[:known] == self.confirmed
        hold(kept, "what was confirmed stays as it was", f"{len(wires)} of {known}")
        new = world.replies(self._heard)
        self._heard = len(world.recorder.replies)
        held = [one.message_id for one in history][known:]
        must = [r for r in new[: len(new) - at_most] if not _may_be_cut_off(r)]
        told = f"{held} where {[(r.request, r.message_id) for r in new]} came whole"
        missing = [r.message_id for r in must if r.message_id not in held]
        hold(not missing, "a whole reply is history", told)
        found = [r for r in new if r.message_id in held]
        hold(
            [r.message_id for r in found] == held,
            "only whole replies are history",
            told,
        )
        reach = max(world.chat.snapshot.view.reach, self._lent_reach())
        for place, (stored, reply) in enumerate(
            zip(list(history)[known:], found, strict=True), start=known
        ):
            if place < reach:  # its message was shown shorter than it is kept
                reply = attrs.evolve(reply, user=stored.user)
            try:
                check_history(type(history)((stored,)), (reply,))
            except AssertionError as error:
                raise BrokenPromiseError(
                    "history is the bytes that travelled", error
                ) from error
        self.confirmed = wires

    def _lent_reach(self) -> int:
        """How far what was left out for a while has reached, if anything was."""
        turn = self.world.chat.turn
        if turn is None or not {Remedy.BISECT, Remedy.RECALL} & {*turn.remedies}:
            return 0
        chosen = [e for e in self.world.events("a") if isinstance(e, RemedyChosen)]
        return max((e.view.reach for e in chosen if e.view is not None), default=0)

    def _check_effects(self) -> None:
        check_effects(self.world.deeds, self.world.recorder.replies)

    def _check_reason(self, log: Sequence[LoggedRequest], move: Move) -> None:
        """A turn that failed met something that made it fail."""
        turn = self.world.chat.turn
        fault = None if turn is None else turn.fault
        if fault is None or fault.kind is FaultKind.CANCELLED:
            return
        if move.verb is Verb.COMPACT and fault.kind in (
            FaultKind.LOCAL,
            FaultKind.COMPACTION,
        ):
            return
        if fault.kind is FaultKind.TOOL:
            terminals = self.world.deeds.terminals
            hold(terminals, "a turn fails for a reason", fault)
            return
        unheard = self.world.unheard  # what came too late is nobody's error
        met = any(
            one.error is not None or one.scripted or one.message_id in unheard
            for one in log
        )
        asked = move.verb in (
            *(Verb.SEND, Verb.STREAM, Verb.LONG, Verb.IMAGE, Verb.COMPACT),
            *(Verb.APPROVE, Verb.DENY, Verb.BRANCH),
        )
        hold(met or not asked or not log, "a turn fails for a reason", fault)

    # The end.

    async def _end(self) -> None:
        world = self.world
        world.model.calm = True
        if world.simulator.pending_faults:
            elapsed = world.clock.now() - world.began
            await world.clock.sleep(max(END_SECONDS - elapsed, 0.0))
        chat, rested = world.chat, world.chat.snapshot
        copy, start = world.in_memory(), len(world.simulator.log)
        await self._next_turn()
        self._check_next(chat, rested, world.simulator.log[start:])
        hold(chat.check() == (), "the next request is legal", chat.check())
        self._check_effects()
        check_truth(world.deeds, chat.messages, world.events(self._name))
        await self._check_copy(copy, rested, world.simulator.log[start].raw)
        await self._reopen(world.store)
        self._check_refusals()

    async def _next_turn(self) -> None:
        for _ in range(sends_max(self.play)):
            chat = self.world.chat
            self._words.expect(Verb.SEND, chat.snapshot)
            turn = await chat.send(NEXT)
            self._check_rests(Move(Verb.SEND), cut_short=False)
            self._check_history(at_most=0)
            self._words.check(chat)
            if turn.state is TurnState.CONFIRMED:
                return self._words.check_delivered(chat)
        stuck = self.world.chat.snapshot.turn
        assert stuck is not None, "a turn was just run"
        raise BrokenPromiseError("the next message is confirmed", stuck.fault)

    def _check_next(
        self, chat: Conversation, rested: Snapshot, log: Sequence[LoggedRequest]
    ) -> None:
        """The next message went out behind the bytes that were confirmed before it."""
        trials = self.world.recorder.trials
        ordinary = [one for one in log if _is_message(one) and one.number not in trials]
        first = ordinary[0]
        sent, _ = cut_request(first.raw)
        if _continues(first.body or {}):
            hold(sent == b"", "a continued thread is sent what is new", sent[:200])
            return
        after = chat.snapshot
        start = max(rested.view.reach, after.view.reach, rested.covered, after.covered)
        size = len(rested.history)
        kept = b",".join(rested.history.wires(min(start, size)))
        hold(sent.endswith(kept), "the confirmed bytes are sent", first.number)
        if not start:
            hold(sent == kept, "nothing else is sent", first.number)

    async def _check_copy(
        self, copy: MemoryStore, rested: Snapshot, sent: bytes
    ) -> None:
        """The same record, opened elsewhere, is the same and says the same."""
        elsewhere = Simulator(strict=False)  # what was sent is all that is asked
        client = client_over(
            SimulatorTransport(elsewhere, sleep=self.world.clock.sleep)
        )
        again = self.world.again(self._name, copy, client)
        async with again:
            found = again.snapshot
            hold(found == rested, "a reload gives the same conversation", "copied")
            await again.send(NEXT)
        await client.close()
        hold(elsewhere.log[0].raw == sent, "a reload sends the same bytes")

    def _check_refusals(self) -> None:
        bad = [
            one.line
            for one in self.world.simulator.unscripted_rejections()
            if _is_knowable(one)
        ]
        hold(not bad, "no request is refused that was known to be illegal", bad)


def _continues(body: Mapping[str, object]) -> bool:
    """Whether a request goes on with a thread that the server holds."""
    thread: Any = body.get("thread")
    return thread is not None and thread["type"] == "continue"


def _is_message(one: LoggedRequest) -> bool:
    """Whether a request is for a reply, and not for a summary."""
    body = one.body or {}
    if not one.path.endswith("/v1/messages") or "compaction" in body:
        return False
    _, user = cut_request(one.raw)
    probe = WholeReply(one.number, "", "", False, False, user, (), None, b"")
    return not is_told(probe)


def _may_be_cut_off(reply: WholeReply) -> bool:
    """A reply that hit its limit inside a call is asked for again, longer."""
    calls = any(block["type"] == "tool_use" for block in reply.blocks)
    return reply.stop_reason == "max_tokens" and calls


def _is_knowable(one: LoggedRequest) -> bool:
    """Whether the engine could have known that a request would be refused."""
    # What is too large was not even parsed.
    body, refusal = one.body or json.loads(one.raw), one.objection or one.error
    if _continues(body):
        context = Context(betas=one.betas, body_bytes=len(one.raw))
        return any(True for _ in check(body, context))
    counted = re.compile("prompt is too long|exceed context limit")
    return refusal is not None and not counted.search(refusal.message)
