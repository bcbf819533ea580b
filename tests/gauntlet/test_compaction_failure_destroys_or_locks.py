"""A summary is made beside the conversation and put in its place in one step, once it is
whole, signed, not empty and shorter. Whatever else becomes of it, the old context is in
force, the next message is answered, and another summary can be asked for.

Overloads, time-outs, refusals and empty answers to the request for a summary replaced the
history by nothing, or left a session that could neither go on nor be summarised again:

- https://github.com/anthropics/claude-code/issues/2423
- https://github.com/NousResearch/hermes-agent/issues/79391
- https://github.com/open-gsd/gsd-pi/issues/109
"""

from itertools import product
from typing import Any

import anyio
import pytest
from tests.harness.processes import kill_at
from tests.harness.published import moved_to
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only, for_ever
from tests.harness.world import mentions
from tests.part import one_in

from turnlatch import CompactionPolicy, Conversation, FaultKind, TurnState
from turnlatch.simulator import Answer, text
from turnlatch_states.request.history import Method

pytestmark = pytest.mark.anyio

SAID = [f"Word {number}: " + "and so on, " * 30 for number in range(4)]
TIGHT = CompactionPolicy(window=1200)
"""So tight that four exchanges call for a summary, though the service has room."""

UNWRITTEN = 'body="[Record]"'
"""The condition for a request that asks for a summary in words."""

BROKEN: dict[str, str] = {
    "overloaded": "529 times 10 on compaction",
    "overloaded, then silent": "529 times 2 on compaction, stall times 9 on compaction",
    "gone": "404 forever on compaction",
    "refused": '400 message="compaction: not for you" forever on compaction',
    "unavailable": "400 code=compaction_unavailable forever on compaction",
    "cut": "cut 2 eof forever on compaction",
    "no body": "empty 200 forever on compaction",
    "no JSON": "malformed json forever on compaction",
    "a page": "html 502 forever on compaction",
    "an error in the stream": "error api_error after 1 forever on compaction",
}
UNUSABLE: dict[str, Answer] = {
    "empty": Answer(),
    "declined": Answer((), "refusal"),
    "cut off": Answer((), "max_tokens"),
    "blank": text(" \n"),
    "longer": text("on and on " * 800),
}


async def converse(chat: Conversation) -> None:
    """Say all of it."""
    for one in SAID:
        await chat.send(one)


def sent(scenario: Scenario) -> list[dict[str, Any]]:
    """The messages of the last request."""
    body: Any = scenario.requests[-1].body
    return list(body["messages"])


@pytest.mark.parametrize(
    ("how", "told", "ends"),
    one_in(
        2,
        [
            (how, told, ends)
            for how, (told, ends) in product(
                [*BROKEN, *UNUSABLE],
                [
                    ("529 forever", FaultKind.TRANSIENT),
                    ("404 forever", FaultKind.INVALID),
                    ("cut 4 eof forever", FaultKind.TRANSIENT),
                ],
            )
        ],
    ),
)
async def test_a_summary_that_cannot_be_had_leaves_everything_as_it_was(
    scenario: Scenario, how: str, told: str, ends: FaultKind
) -> None:
    """Neither the service's own summary nor one in words is to be had."""
    signed = BROKEN.get(how)
    scenario.script(
        *SAID,
        faults=", ".join(filter(None, [signed, f"{told} {UNWRITTEN}"])),
        summaries=[UNUSABLE[how]] if how in UNUSABLE else [],
    )
    async with scenario.open() as chat:
        await converse(chat)
        turn = await chat.compact()
        assert turn.requests <= 6, "three of each at most"
        assert chat.snapshot.base is None
        await scenario.finish(chat, ended=ends, effects={}, budget=10)


@pytest.mark.parametrize("how", [*BROKEN, *UNUSABLE])
async def test_summary_in_words_replaces_a_missing_server_summary(
    scenario: Scenario, how: str
) -> None:
    scenario.script(
        *SAID,
        "All of it, in short.",
        faults=BROKEN.get(how, ""),
        summaries=[UNUSABLE[how]] if how in UNUSABLE else [],
    )
    async with scenario.open() as chat:
        await converse(chat)
        await chat.compact()
        base = chat.snapshot.base
        assert base is not None
        assert (base.covers, base.method) == (4, Method.TOLD)
        assert len(chat.history) == 4, "what it stands for is still there"
        last = len(scenario.requests)
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=8,
            unheard=[last],
            verbatim=False,
        )
    assert mentions(sent(scenario)[0], "All of it, in short.")


@pytest.mark.parametrize("how", [*BROKEN, *UNUSABLE])
async def test_a_summary_that_fails_by_the_way_does_not_cost_the_message(
    scenario: Scenario, how: str
) -> None:
    """Nobody asked for it; there is room without it, and the message is sent in full."""
    signed = BROKEN.get(how)
    scenario.script(
        *SAID,
        "Here you are.",
        faults=", ".join(filter(None, [signed, f"529 forever {UNWRITTEN}"])),
        summaries=[UNUSABLE[how]] * 9 if how in UNUSABLE else [],
    )
    async with scenario.open(compaction=TIGHT) as chat:
        await converse(chat)
        turn = await chat.send("Please.")
        assert turn.text == "Here you are."
        assert "compaction" in {
            key for one in scenario.requests for key in one.body or {}
        }
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=20, patience=4)


@asyncio_only
@pytest.mark.parametrize(
    ("point", "swapped"),
    [
        ("before CompactionSent", False),
        ("after CompactionSent", False),
        ("before CompactionConfirmed", False),
        ("after CompactionConfirmed", True),
        ("after RequestSent 4", True),
    ],
)
async def test_killed_around_the_swap_one_of_the_two_contexts_is_in_force(
    scenario: Scenario, point: str, swapped: bool
) -> None:
    scenario.script("One.", "Two.", faults="413 @3")
    kill_at(scenario, point, "one", "two", "three")
    async with scenario.open() as chat:
        assert (chat.snapshot.base is not None) is swapped
        await scenario.finish(
            chat,
            ended=FaultKind.INTERRUPTED,
            effects={},
            budget=5,
            summary=4 if swapped else None,
        )


@pytest.mark.parametrize("events", [0, 1, 3])
async def test_a_summary_that_is_stopped_locks_nothing(
    scenario: Scenario, events: int
) -> None:
    scenario.script(*SAID, faults=f"cut {events} stall on compaction")
    async with scenario.open(client=scenario.client(sleep=for_ever)) as chat:
        await converse(chat)
        await stopped(chat)
        assert len(scenario.requests) == 5
        await scenario.finish(chat, ended=FaultKind.CANCELLED, effects={}, budget=5)


async def stopped(chat: Conversation) -> None:
    """Ask for a summary and stop that as soon as it is asked for."""
    async with anyio.create_task_group() as group:
        group.start_soon(chat.compact)
        cursor = chat.cursor
        async for event in chat.watch(cursor):
            if moved_to(event, TurnState.COMPACTING):
                break
        await anyio.wait_all_tasks_blocked()
        await chat.interrupt()


async def test_a_summary_can_be_asked_for_again_however_often_it_failed(
    scenario: Scenario,
) -> None:
    scenario.script(
        *SAID, faults=f"529 times 12 on compaction, 529 times 12 {UNWRITTEN}"
    )
    async with scenario.open() as chat:
        await converse(chat)
        for _ in range(4):
            failed = await chat.compact()
            assert failed.fault is not None
        turn = await chat.compact()
        assert turn.state is CONFIRMED
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=4 + 24 + 1,
            summary=len(scenario.requests),
        )


async def test_a_summary_without_credentials_waits_and_takes_no_message_with_it(
    scenario: Scenario,
) -> None:
    scenario.script(*SAID, faults=f"401 forever on compaction, 401 forever {UNWRITTEN}")
    async with scenario.open() as chat:
        await converse(chat)
        turn = await chat.compact()
        assert turn.suspended is not None
        assert chat.snapshot.base is None
        await scenario.finish(chat, ended=FaultKind.AUTH, effects={}, budget=6)


async def test_behind_a_summary_the_old_context_can_be_gone_back_to(
    scenario: Scenario,
) -> None:
    scenario.script(*SAID)
    async with scenario.open() as chat:
        await converse(chat)
        await chat.compact()
        assert chat.snapshot.base is not None
        await chat.rewind(turns=1)
        assert chat.snapshot.base is None
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=5, history=[1, 2, 3]
        )
