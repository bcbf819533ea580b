"""Performing the effects on calls: reading arguments, asking a rule, running, reconciling.

The functions know neither the loop nor the record. Calls that run at the same time report
each start and each end to a port while the others go on.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, final

import anyio

from turnlatch.call_context import RUNNING, RunningCall
from turnlatch.runtime.environment import World
from turnlatch.tools import ToolCall
from turnlatch.tools.context import CallIdentity, CallProgress, ToolContext
from turnlatch.tools.execution import ToolRun, reconcile, ruled, shown
from turnlatch_states.effects.call_effects import (
    AskRule,
    CallRun,
    CheckArguments,
    Ending,
    Read,
    Reconcile,
    Ruling,
    RunCalls,
)


async def read_arguments(effect: CheckArguments, world: World) -> Read:
    """The arguments of a call as they would run, or its ending if they do not fit."""
    call = effect.call
    before = call.input if effect.shown else None
    return await shown(world.tools[call.use.name], call.use, before)


async def ask_rule(effect: AskRule, world: World) -> Ruling:
    """The answer of a tool's rule about a call."""
    use = effect.call.use
    asked = ToolCall(use.id, use.name, effect.arguments)
    allows, why = await ruled(world.tools[use.name], asked)
    return Ruling(allows, why, world.clock.now())


async def find_out(effect: Reconcile, world: World) -> Ending:
    """How a call ended whose end was not seen, as far as its tool can tell."""
    run = effect.run
    use = run.call.use
    with _running(run, world):
        return await reconcile(world.tools[use.name], use, run.key, run.bytes_max)


@contextmanager
def _running(run: CallRun, world: World) -> Generator[None]:
    """The context of a call, for its tool."""
    running = RunningCall(
        world.name,
        run.turn,
        run.call.use.id,
        run.key,
        {
            "store": world.store,
            "client": world.model,
            "clock": world.clock,
            "ids": world.ids,
            "model": run.model,
            "deps": world.deps,
        },
    )
    token = RUNNING.set(running)
    try:
        yield
    finally:
        RUNNING.reset(token)


class Reports(Protocol):
    """The port that concurrent calls report to.

    It raises no error of the journal, which would cancel the other calls in the middle
    of their effects.
    """

    async def begin(self, run: CallRun) -> bool:
        """Make the start of a call durable; False if the call must not start."""
        ...

    async def end(self, run: CallRun, ending: Ending, *, alone: bool) -> None:
        """Record how a call ended; where it is not alone, durably."""
        ...

    def progressed(self, run: CallRun, text: str) -> None:
        """Tell watchers how far a call has come; nothing is recorded."""
        ...

    def stopped(self, run: CallRun, ending: Ending) -> None:
        """Record how a call ended while it was being stopped; nothing is awaited."""
        ...


async def run_calls(effect: RunCalls, world: World, reports: Reports) -> str:
    """Run calls, so many at once; they begin in the order of the reply.

    Returns:
        Why the turn cannot go on, as the first tool that ended so said; else empty.
    """
    return await _Runs(effect, world, reports).run()


@final
class _Runs:
    """The runs of one effect."""

    def __init__(self, effect: RunCalls, world: World, reports: Reports) -> None:
        self._effect = effect
        self._world = world
        self._reports = reports
        self._stops = ""

    async def run(self) -> str:
        starts, at_once = self._effect.starts, self._effect.parallel
        if len(starts) == 1:  # nothing is awaited between its end and what follows it
            await self._to_its_end(starts[0], alone=True)
            return self._stops
        places = anyio.Semaphore(at_once)

        async def run(one: CallRun, started: bool, begun: anyio.Event) -> None:
            try:
                if started or await self._reports.begin(one):
                    await self._to_its_end(one, begun)
            finally:
                begun.set()
                places.release()

        async with anyio.create_task_group() as group:
            for index, one in enumerate(starts):
                # A loop may begin its tasks in any order: each is waited for.
                await places.acquire()
                begun = anyio.Event()
                group.start_soon(run, one, index < at_once, begun)
                await begun.wait()
        return self._stops

    async def _to_its_end(
        self, one: CallRun, begun: anyio.Event | None = None, *, alone: bool = False
    ) -> None:
        call, world = one.call, self._world
        begins = (lambda: None) if begun is None else begun.set
        before = call.input if call.arguments else None
        tool = world.tools[call.use.name]
        context = self._context(one)
        run = ToolRun(tool, call.use, one.key, one.bytes_max, begins, before, context)
        try:
            with _running(one, world):
                ending = await run.wait()
        except BaseException:
            seen = run.interrupted
            if seen is not None:  # it came to its end, or had told how far it was
                self._reports.stopped(one, seen)
            raise
        self._stops = self._stops or ending.stops
        await self._reports.end(one, ending, alone=alone)

    def _context(self, one: CallRun) -> ToolContext[Any]:
        call, world = one.call, self._world
        publish = partial(self._reports.progressed, one)
        return ToolContext(
            world.name,
            one.turn,
            CallIdentity(call.use.id, call.place, call.use.name),
            one.key,
            world.deps,
            CallProgress(publish, world.clock.monotonic),
        )
