"""Running the calls of a reply: each gets exactly one ending, and its record first."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Protocol, final

import anyio

from turnlatch.call_context import RUNNING, RunningCall
from turnlatch.errors import JournalError
from turnlatch.runtime.environment import World
from turnlatch.runtime.unsaved import NEVER_STARTED
from turnlatch.tools import Tool, ToolCall
from turnlatch.tools.execution import Ending, ToolRun, reconcile, ruled, shown, unusable
from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import ToolUse
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.call_step import call_key, repeats, started
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call, Snapshot, Turn
from turnlatch_states.machine.synthetic_results import UNKNOWN, closed_result
from turnlatch_states.recovery.result_size import result_bytes

EXPIRED = "nobody answered in time"


class Reports(Protocol):
    """Where a concurrent call reports to."""

    world: World

    @property
    def snapshot(self) -> Snapshot:
        """Where the conversation stands."""
        ...

    @property
    def turn(self) -> Turn:
        """The turn whose calls run."""
        ...

    def apply(self, event: Event) -> object:
        """Something happened; it is recorded by the next `save`."""
        ...

    async def save(self) -> None:
        """Make durable what happened.

        Raises:
            JournalError: It could not be recorded.
        """
        ...


@final
class Caller:
    """Runs the calls of one conversation."""

    def __init__(self, record: Reports) -> None:
        self._record = record
        self._error: JournalError | None = None
        self._stops = ""

    async def run(self) -> None:
        """Run every call that may run; each gets exactly one ending.

        Calls that need a person's decision wait.

        Raises:
            JournalError: A start or an end could not be recorded.
        """
        self._stops, self._error = "", None  # a run that was stopped may have left some
        ready: list[Call] = []
        for call in self._record.turn.open_calls:
            may_run = await self._ready(call, len(ready))
            if may_run is not None:
                ready.append(may_run)
        at_once = self._record.world.limits.calls_parallel_max
        for call in ready[:at_once]:
            self._start(call)
        await self._record.save()
        if len(ready) == 1:  # nothing is awaited between its end and what follows it
            await self._run_one(ready[0], started=True, save=False)
        else:
            await self._run_all(ready, at_once)
        error, self._error = self._error, None
        if self._stops:
            turn = self._record.turn
            fault = Fault(FaultKind.TOOL, self._stops)
            self._record.apply(ev.TurnFailed(turn.number, turn.attempt, fault))
        if error is not None:
            raise error

    async def _ready(self, call: Call, before: int) -> Call | None:
        """The call if it may start now, with so many before it; else it was closed, or a
        person is asked."""
        use = call.use
        tool = self._record.world.tools.get(use.name)
        match call.state:
            case CallState.ASKED:
                return None
            case CallState.UNKNOWN:
                again = tool is not None and tool.effect == "safe" and call.safe
                if again:
                    return call
                await self._settle(call)
                return None
            case CallState.DENIED:
                ending: Ending | None = _denied(call)
            case _:
                ending = unusable(use, tool) or self._guarded(call, before)
        if ending is not None:
            self._close(call, ending)
            return None
        if tool is None:
            return None
        if call.state is CallState.APPROVED:
            return None if await self.ask_anew(call) else call
        if tool.effect == "ask" or tool.approve is not None:
            return await self._decided(tool, call)
        return call

    def _guarded(self, call: Call, before: int) -> Ending | None:
        """The ending of a call that the limits of the turn keep from running."""
        turn, limits = self._record.turn, self._record.world.limits
        most, same = limits.calls_per_turn_max, limits.repeats_max
        if most is not None and started(turn) + before >= most:
            text = f"Not executed: this turn has run the {most} calls that it may run."
        elif same is not None and (found := repeats(turn, call.use)) >= same:
            text = (
                f"Not executed: this very call had this very result {found} times in a"
                " row. Do something else, or say what is missing."
            )
        else:
            return None
        return Ending(Closing.NOT_EXECUTED, closed_result(call.use.id, text))

    # Who decides.

    async def _decided(self, tool: Tool, call: Call) -> Call | None:
        """The call, if a rule approves it; a wrong call is closed without a question."""
        use, turn = call.use, self._record.turn.number
        arguments = await self._shown(tool, use)
        if isinstance(arguments, Ending):
            self._close(call, arguments)
            return None
        answer: bool | None = None
        why = ""
        if tool.approve is not None:
            await self._record.save()
            answer, why = await ruled(tool, ToolCall(use.id, use.name, arguments))
        if answer is None:
            self._ask(tool, call, arguments)
            return None
        if answer:
            digest, kept = self._digest(call, arguments), _kept(use, arguments)
            self._record.apply(ev.CallApproved(turn, use.id, digest, kept))
            return self._record.turn.call(use.id)
        self._record.apply(ev.CallDenied(turn, use.id, why))
        self._close(call, _denied(self._record.turn.call(use.id) or call))
        return None

    def _ask(self, tool: Tool, call: Call, arguments: Mapping[str, Any]) -> None:
        """Put the question to a person; it is durable, and about exactly this call."""
        seconds = tool.approval_seconds
        now = self._record.world.clock.now()
        self._record.apply(
            ev.CallAsked(
                self._record.turn.number,
                call.use.id,
                self._digest(call, arguments),
                None if seconds is None else now + seconds,
                _kept(call.use, arguments),
            )
        )

    async def _shown(
        self, tool: Tool, use: ToolUse, before: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any] | Ending:
        """The arguments as they would run; see `shown`."""
        if tool.arguments.runs_code:
            await self._record.save()
        return await shown(tool, use, before)

    async def ask_anew(self, call: Call) -> bool:
        """Ask again if the call to run is not the one that was shown; True if it is not.

        A call that no longer fits its tool is closed without a question.
        """
        use = call.use
        tool = self._record.world.tools.get(use.name)
        if tool is None or call.input is None:
            return False
        before = call.input if call.arguments else None
        arguments = await self._shown(tool, use, before)
        if (
            not isinstance(arguments, Ending)
            and _kept(use, arguments) == call.arguments
        ):
            now = self._digest(call, arguments)
            if call.digest in (now, self._former_digest(call, arguments)):
                return False
        if before is not None:
            arguments = await self._shown(tool, use)
        if isinstance(arguments, Ending):
            self._close(call, arguments)
        else:
            self._ask(tool, call, arguments)
        return True

    def expire(self) -> None:
        """Deny the calls whose questions have expired."""
        turn = self._record.snapshot.turn
        if turn is None or not turn.open_calls:
            return
        now = self._record.world.clock.now()
        for call in turn.open_calls:
            if call.state is CallState.ASKED and _is_over(call, now):
                self._record.apply(ev.CallDenied(turn.number, call.use.id, EXPIRED))

    def _digest(
        self, call: Call, arguments: Mapping[str, Any], place: str | None = None
    ) -> str:
        """What exactly would run: the tool as it is declared, the arguments, the place."""
        name = call.use.name
        tool = self._record.world.tools[name]
        place = self.key(call) if place is None else place
        schema = tool.definition.get("input_schema")
        parts = [place, name, arguments, schema, tool.effect]
        return sha256(encode(parts)).hexdigest()[:32]

    def _former_digest(self, call: Call, arguments: Mapping[str, Any]) -> str:
        """The same as the first version wrote it, in records that it began: what a
        person was asked then is still the question."""
        snapshot, turn = self._record.snapshot, self._record.turn.number
        if snapshot.identity:
            return ""
        text = f"{self._record.world.journal.name}\0{turn}\0{call.use.id}"
        place = sha256(text.encode(errors="replace")).hexdigest()[:32]
        return self._digest(call, arguments, place)

    # How it ends.

    async def settle(self) -> None:
        """Find out how the calls ended whose end was not seen, as far as can be."""
        turn = self._record.snapshot.turn
        for call in () if turn is None else turn.open_calls:
            if call.state is CallState.UNKNOWN:
                await self._settle(call)

    async def _settle(self, call: Call) -> None:
        tool = self._record.world.tools.get(call.use.name)
        if tool is None:
            unknown = Ending(Closing.UNKNOWN, closed_result(call.use.id, UNKNOWN))
            return self._close(call, unknown)
        await self._record.save()
        token = RUNNING.set(self._running(call))
        try:
            found = await reconcile(tool, call.use, call.key, self._bytes_max())
        finally:
            RUNNING.reset(token)
        return self._close(call, found)

    def _bytes_max(self) -> int:
        policy = self._record.world.policies.compaction
        return result_bytes(self._record.snapshot, policy)

    async def _run_all(self, ready: list[Call], at_once: int) -> None:
        """Run some calls, so many at once; they begin in the order of the reply."""
        places = anyio.Semaphore(at_once)

        async def run(call: Call, started: bool, begun: anyio.Event) -> None:
            try:
                await self._run_one(call, started, begins=begun.set)
            finally:
                begun.set()
                places.release()

        async with anyio.create_task_group() as group:
            for index, call in enumerate(ready):
                # A loop may begin its tasks in any order: each is waited for.
                await places.acquire()
                begun = anyio.Event()
                group.start_soon(run, call, index < at_once, begun)
                await begun.wait()

    async def _run_one(
        self,
        call: Call,
        started: bool,
        save: bool = True,
        begins: Callable[[], None] = lambda: None,
    ) -> None:
        try:
            if not started:
                await self._begin(call)
            running = self._running(call)
            token = RUNNING.set(running)
            try:
                await self._to_its_end(call, running, begins)
            finally:
                RUNNING.reset(token)
            if save:
                await self._record.save()
        except JournalError as error:
            # Raising here would cancel the other calls in the middle of their
            # effects: they end first, then the error is told.
            self._error = error

    async def _to_its_end(
        self, call: Call, running: RunningCall, begins: Callable[[], None]
    ) -> None:
        tool, key = self._record.world.tools[call.use.name], running.key
        shown = call.input if call.arguments else None
        run = ToolRun(tool, call.use, key, self._bytes_max(), begins, shown)
        try:
            ending = await run.wait()
        except BaseException:
            if run.ending is not None:  # it came to its end while it was being stopped
                self._close(call, run.ending)
            raise
        if ending.closing is Closing.UNKNOWN and tool.reconcile is not None:
            self._record.apply(ev.CallLost(self._record.turn.number, call.use.id))
            await self._record.save()
            found = await reconcile(tool, call.use, key, self._bytes_max())
            ending = ending if found.closing is Closing.UNKNOWN else found
        self._stops = self._stops or ending.stops
        self._close(call, ending)

    def _running(self, call: Call) -> RunningCall:
        """The context of a call, for its tool."""
        world = self._record.world
        return RunningCall(
            world.journal.name,
            self._record.turn.number,
            call.use.id,
            self.key(call),
            {
                "store": world.store,
                "client": world.model,
                "clock": world.clock,
                "ids": world.ids,
                "model": self._record.snapshot.profile.model,
            },
        )

    def _start(self, call: Call) -> None:
        turn, use = self._record.turn.number, call.use
        safe = self._record.world.tools[use.name].effect == "safe"
        self._record.apply(ev.CallStarted(turn, use.id, self.key(call), safe))

    async def _begin(self, call: Call) -> None:
        """Start a call concurrently with others, and make that durable."""
        self._start(call)
        try:
            await self._record.save()
        except JournalError as error:
            # A call that ended during the wait is saved after this one, and keeps it.
            kept = self._record.turn.call(call.use.id)
            if not error.outcome_unknown and kept and kept.state is CallState.STARTED:
                result = closed_result(call.use.id, NEVER_STARTED)
                self._close(call, Ending(Closing.NOT_EXECUTED, result))
            raise

    def _close(self, call: Call, ending: Ending) -> None:
        turn = self._record.turn.number
        self._record.apply(
            ev.CallClosed(
                turn, call.use.id, ending.closing, ending.result, ending.output
            )
        )

    def key(self, call: Call) -> str:
        """The idempotency key of a call: as it was started, if it was."""
        record = self._record
        name = record.world.journal.name
        return call.key or call_key(record.snapshot, name, call)


def _kept(use: ToolUse, arguments: Mapping[str, Any]) -> bytes:
    """What the record says of the arguments: nothing where they are as they came."""
    written = encode(arguments)
    return b"" if written == encode(use.input) else written


def _is_over(call: Call, now: float) -> bool:
    return call.expires is not None and now >= call.expires


def _denied(call: Call) -> Ending:
    text = f"Denied: {call.note}" if call.note else "Denied."
    return Ending(Closing.DENIED, closed_result(call.use.id, text))
