"""Running the calls of a reply: each gets exactly one ending, and its record first."""

from hashlib import sha256
from typing import TYPE_CHECKING, final

import anyio

from detent.errors import JournalError
from detent.tools import Tool, ToolCall
from detent.tools.execution import Ending, run_tool, unusable
from detent_states import events as ev
from detent_states.call import CallState, Closing
from detent_states.closing import closed_result
from detent_states.snapshot import Call
from detent_states.turn import TurnState

if TYPE_CHECKING:
    from detent.driver import Driver


@final
class Caller:
    """Runs the calls of one conversation."""

    def __init__(self, driver: "Driver") -> None:
        self._driver = driver
        self._error: JournalError | None = None

    async def run(self) -> None:
        """Run every call that may run; each gets exactly one ending."""
        ready: list[Call] = []
        for call in self._driver.turn.open_calls:
            tool = self._driver.world.tools.get(call.use.name)
            ending = unusable(call.use, tool)
            if call.state is CallState.DENIED:
                ending = _denied(call)
            elif ending is None and tool and call.state is CallState.PROPOSED:
                ending, may_run = await self._decide(tool, call)
                if ending is None and not may_run:
                    continue  # a person decides, later
            if ending is not None:
                self._close(call, ending)
            else:
                ready.append(call)
        at_once = self._driver.world.limits.calls_parallel_max
        for call in ready[:at_once]:
            self._start(call)
        self._driver.flush()
        limiter = anyio.CapacityLimiter(at_once)
        async with anyio.create_task_group() as group:
            for index, call in enumerate(ready):
                group.start_soon(self._run_one, call, limiter, index < at_once)
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def _decide(self, tool: Tool, call: Call) -> tuple[Ending | None, bool]:
        """Whether a call may run now: its refusal, or yes, or not yet."""
        if tool.approve is None:
            return None, tool.effect != "ask"
        self._driver.flush()
        use = call.use
        try:
            answer = tool.approve(ToolCall(use.id, use.name, use.input or {}))
            if not isinstance(answer, bool):
                answer = await answer
        except Exception as error:  # noqa: BLE001 - a predicate that fails says no
            answer, why = False, f"the approval itself failed: {error}"
        else:
            why = "the tool's approval said no"
        turn = self._driver.turn.number
        if answer:
            self._driver.apply(ev.CallApproved(turn, use.id))
            return None, True
        self._driver.apply(ev.CallDenied(turn, use.id, why))
        found = self._driver.turn.call(use.id)
        return _denied(found or call), False

    async def _run_one(
        self, call: Call, limiter: anyio.CapacityLimiter, started: bool
    ) -> None:
        async with limiter:
            try:
                if not started:
                    self._start(call)
                    self._driver.flush()
                key = self.call_key(call.use.id)
                tool = self._driver.world.tools[call.use.name]
                self._close(call, await run_tool(tool, call.use, key))
                if self._driver.turn.open_calls:
                    self._driver.flush()  # the last one is saved with what follows it
            except JournalError as error:
                # Raising here would cancel the other calls in the middle of their
                # effects: they end first, then the error is told.
                self._error = error

    def _start(self, call: Call) -> None:
        turn = self._driver.turn.number
        self._driver.apply(
            ev.CallStarted(turn, call.use.id, self.call_key(call.use.id))
        )

    def _close(self, call: Call, ending: Ending) -> None:
        turn = self._driver.turn.number
        self._driver.apply(
            ev.CallClosed(
                turn, call.use.id, ending.closing, ending.result, ending.output
            )
        )

    def call_key(self, id_: str) -> str:
        """The idempotency key of a call: the same at every attempt, nowhere else."""
        text = f"{self._driver.world.journal.name}\0{self._driver.turn.number}\0{id_}"
        return sha256(text.encode(errors="replace")).hexdigest()[:32]

    def awaits_approval(self) -> bool:
        """True if the turn waits for somebody to decide about a call."""
        turn = self._driver.turn
        return turn.state == TurnState.CONFIRMED and any(
            call.state is CallState.PROPOSED for call in turn.open_calls
        )


def _denied(call: Call) -> Ending:
    text = f"Denied: {call.note}" if call.note else "Denied."
    return Ending(Closing.DENIED, closed_result(call.use.id, text))
