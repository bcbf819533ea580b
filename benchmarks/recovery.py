"""What it costs to get over a fault: requests beyond those of a run without it.

For each kind of fault a script with that one fault, on the strict simulator in this
process, until the message that met it, or the one after, is confirmed. Messages,
summaries and counts are all counted. Beside it stands how long the ladder of that kind is
(`ladder.LADDERS`), and what it allows: `RetryPolicy.attempts_max` requests for what passes
by itself; else one for what was refused and one for every rung, where

- a summary is a request of its own, before the one that it makes room for;
- a search asks whether a count will do and whether that count is honest, halves the
  turns, and looks at the ends of what it found.

More than that ends the measurement: a ladder that is longer than it says is a bug.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from math import ceil, log2
from typing import Final, final

import anthropic
import attrs
import httpx2

from benchmarks.material import MODEL
from benchmarks.report import Report, Row, Target
from turnlatch import Conversation, FaultKind, RetryPolicy, Tool, TurnState, tool
from turnlatch.ports import Model
from turnlatch.sdk import SdkModel
from turnlatch.simulator import (
    Answer,
    ClientCall,
    Simulator,
    call,
    parse_faults,
    refuse,
    reply,
    text,
)
from turnlatch.simulator.transport import SimulatorTransport
from turnlatch.simulator.wire import Json
from turnlatch.testing import SeededIds, VirtualClock
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.ladder import LADDERS

Wrap = Callable[[Model], Model]
"""What stands between the engine and its port: a planted bug."""

TURNS: Final = 8
"""Plain turns before the one that meets the fault."""

SENDS_MAX: Final = 2
"""Messages until one is confirmed: a refusal is searched for when it comes twice."""

RETRY: Final = RetryPolicy()

_AT: Final = TURNS + 1
_LOOK: Final = "And now look at it."

_COSTS: Final[Mapping[Remedy, int]] = {
    Remedy.BISECT: 2 + ceil(log2(TURNS + 1)) + 3 + 1,
    Remedy.COMPACT: 2,
    Remedy.TELL: 2,
}
"""The rungs that are more than one request."""


@final
@attrs.frozen
class Case:
    """One fault, and the conversation that meets it.

    Attributes:
        kind: Its kind.
        fault: It, in words.
        script: It, as a fault script; empty where the model's own answer is the fault.
        answer: What the model says first in the turn that meets it.
        compacts: A summary is in force before.
        threads: Whether the server is asked to keep a copy.
    """

    kind: FaultKind
    fault: str
    script: str = ""
    answer: Answer | None = None
    compacts: bool = False
    threads: str = "off"


_K = FaultKind

CASES: Final[Sequence[Case]] = (
    Case(_K.TRANSIENT, "529 once", f"529 @{_AT}"),
    Case(_K.TRANSIENT, "429 with a hint", f"429 retry-after=2 @{_AT}"),
    Case(_K.TRANSIENT, "a cut stream", f"cut 3 reset @{_AT}"),
    Case(_K.TRANSIENT, "529 seven times", f"529 @{_AT}-{_AT + 6}"),
    Case(
        _K.OPTIONAL_FIELD,
        "a field is refused",
        f'400 message="diagnostics: Extra inputs are not permitted" @{_AT}',
    ),
    Case(
        _K.THREAD, "the copy is gone", f"404 code=thread_not_found @{_AT}", threads="on"
    ),
    Case(_K.TOO_LONG, "413 once", f"413 @{_AT}"),
    Case(_K.TOO_LONG, "the window is smaller", f"limit context_window=200 @{_AT}"),
    Case(
        _K.BLOCK,
        "a block is named",
        f'400 message="messages.1.content.0: Could not process" @{_AT}',
    ),
    Case(
        _K.THINKING,
        "thinking is refused",
        f'400 message="messages.1.content.0: Invalid `signature` in `thinking` block" @{_AT}',
    ),
    Case(_K.INVALID, "no reason, once", f'400 message="No." @{_AT}'),
    Case(
        _K.INVALID,
        "a word of turn 3, for ever",
        f'400 message="No." body="number 3." @{_AT}+',
    ),
    Case(
        _K.COMPACTION,
        "the summary is refused",
        f"400 code=compaction_signature_invalid @{_AT + 1}",
        compacts=True,
    ),
    Case(
        _K.CUT_OFF,
        "a call is cut off",
        answer=reply(ClientCall("look", {"what": "it"}), stop_reason="max_tokens"),
    ),
    Case(_K.REFUSAL, "the model declines", answer=refuse()),
    Case(_K.AUTH, "401 once", f"401 @{_AT}"),
    Case(_K.BILLING, "402 once", f"402 @{_AT}"),
    Case(
        _K.MODEL_GONE,
        "the model is gone, once",
        f'404 message="model: {MODEL}" @{_AT}',
    ),
)


def allowed(kind: FaultKind) -> int:
    """The most requests that the ladder of a kind may cost beyond a run without it."""
    if kind is FaultKind.TRANSIENT:
        return RETRY.attempts_max
    return 1 + sum(_COSTS.get(rung.remedy, 1) for rung in LADDERS[kind].rungs)


async def measure(wrap: Wrap | None = None) -> Report:
    """Meet each fault once, and count.

    Raises:
        AssertionError: Getting over one cost more than its ladder allows, or the
            conversation did not get over it.
    """
    rows: list[Row] = []
    quiet: dict[tuple[str, bool], int] = {}
    for case in CASES:
        kind = (case.threads, case.compacts)
        if kind not in quiet:
            without = attrs.evolve(case, script="", answer=None)
            quiet[kind] = await _requests(without, None)
        beyond = await _requests(case, wrap) - quiet[kind]
        most = allowed(case.kind)
        assert beyond <= most, (
            f"{case.kind}, {case.fault}: {beyond} requests beyond those of a run"
            f" without it, where its ladder allows {most}"
        )
        rungs = [rung.remedy.value for rung in LADDERS[case.kind].rungs]
        rows.append(
            Row(
                f"requests beyond: {case.kind.value}: {case.fault}",
                "count",
                beyond,
                len(rungs),
                f"rungs: {', '.join(rungs) or 'none'}",
                Target(most, "value at most"),
            )
        )
    return Report(rows)


async def _requests(case: Case, wrap: Wrap | None) -> int:
    """How many requests the whole conversation took."""
    clock = VirtualClock()
    simulator = Simulator(
        _Model(case.answer), faults=parse_faults(case.script), clock=clock.now
    )
    transport = SimulatorTransport(simulator, sleep=clock.sleep)
    client = anthropic.AsyncAnthropic(
        api_key="benchmark", http_client=httpx2.AsyncClient(transport=transport)
    )
    model: Model = SdkModel(client)
    chat = Conversation.open(
        "recovery",
        client=wrap(model) if wrap else model,
        model=MODEL,
        max_tokens=1024,
        tools=[_look()],
        threads=case.threads,
        retry=RETRY,
        clock=clock,
        ids=SeededIds(),
    )
    async with chat:
        for number in range(1, TURNS + 1):
            (await chat.send(f"This is number {number}.")).raise_for_failure()
        if case.compacts:
            (await chat.compact()).raise_for_failure()
        for _ in range(SENDS_MAX):
            if (await chat.stream(_LOOK).turn()).state is TurnState.CONFIRMED:
                break
        else:
            raise AssertionError(f"{case.kind}, {case.fault}: stuck: {chat.turn}")
    await client.close()
    return len(simulator.log)


@final
class _Model:
    """A model that looks where it is told to, and has one answer to give before that."""

    def __init__(self, first: Answer | None) -> None:
        self._first = first

    def answer(self, request: Json, rng: random.Random, /) -> Answer:
        """Answer the last message, whatever stands before it."""
        del rng
        last = str(request["messages"]).rpartition("'role'")[2]
        if "tool_result" in last:
            return text("Done.")
        if _LOOK not in last:
            return text("Very well.")
        first, self._first = self._first, None
        return first or call("look", what="it")


def _look() -> Tool:
    @tool(effect="safe")
    async def look(what: str) -> str:
        """Look at something."""
        return f"{what}, looked at"

    return look
