"""What the service keeps for us is a hint: a copy of the conversation, a container, a file
may be gone at any request, whatever the service says of it, and the conversation goes on
from its own record.

Conversations ended for good with a container that had expired, a file that was deleted,
or a copy that was kept on another connection:

- https://github.com/pydantic/pydantic-ai/issues/7833
- https://github.com/openai/openai-agents-python/issues/1061
- https://github.com/anthropics/anthropic-sdk-python/issues/1801
"""

import json
from typing import Any

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import Conversation, Remedy, Tool, tool
from turnlatch.simulator import call
from turnlatch_states.machine.thread import ThreadState

pytestmark = pytest.mark.anyio

CONTAINER = {"container": "container_01"}


def asked(scenario: Scenario, *numbers: int) -> list[Any]:
    """What these requests want the server's copy for: nothing, create, continue."""
    found: list[Any] = [scenario.requests[number - 1].body for number in numbers]
    threads: list[dict[str, Any]] = [one.get("thread", {}) for one in found]
    return [one.get("type") for one in threads]


def bodies(scenario: Scenario) -> list[str]:
    """Every request, as text."""
    return [one.raw.decode() for one in scenario.requests]


# A container.


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        ('400 message="container: container_01 has expired"', 2),
        ('400 message="Container container_01 is gone."', 2),
        ('400 message="The resource container_01 has expired."', 2),
        ('404 message="Not found"', 2),
        ("html 404", 2),
        ("500", 5),
    ],
)
async def test_a_container_that_is_gone_is_left_out(
    scenario: Scenario, fault: str, requests: int
) -> None:
    scenario.script(
        call("look", path="a"), "One.", faults=f"{fault} body=container_01 forever @2+"
    )
    async with scenario.open(settings=CONTAINER) as chat:
        turn = await chat.send("1")
        assert turn.text == "One."
        assert turn.remedies == (Remedy.DROP_FIELD,)
        held = ["container_01" in one for one in bodies(scenario)]
        assert held == [True] * requests + [False]
        ran = {"look a": 1}
        # What no definite word asked for is tried again with the next message.
        tries = 2 if fault == "500" else 1
        await scenario.finish(
            chat, ended=CONFIRMED, effects=ran, budget=requests + tries, patience=tries
        )
    assert "container_01" not in bodies(scenario)[-1]


async def test_another_container_is_another_hint(scenario: Scenario) -> None:
    gone = "404 body=container_01 forever"
    scenario.script("One.", "Two.", faults=gone)
    async with scenario.open(settings=CONTAINER) as chat:
        await chat.send("1")
        await chat.configure(settings={"container": "container_02"})
        await chat.send("2")
        assert "container_02" in bodies(scenario)[-1]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)


# A file.

FILE: dict[str, Any] = {
    "type": "document",
    "source": {"type": "file", "file_id": "file_01A"},
}
SENT = r'body="\"file_id\":\"file_01A\""'
BETAS = ["files-api-2025-04-14"]


def fetches(scenario: Scenario) -> list[Tool]:
    """A tool whose result holds a file."""

    @tool(effect="safe")
    async def fetch(what: str) -> list[dict[str, Any]]:
        """Fetch something."""
        scenario.note(f"fetch {what}")
        return [{"type": "text", "text": "Fetched."}, FILE]

    return [fetch]


@pytest.mark.parametrize(
    "said",
    [
        '404 message="File not found: file_01A"',
        '400 message="The file file_01A was deleted."',
        '404 code=file_expired message="file_01A has expired"',
        '404 code=file_expired message="messages.0.content.0: this file has expired"',
    ],
)
async def test_a_file_that_is_gone_costs_one_rebuild_with_a_note_in_its_place(
    scenario: Scenario, said: str
) -> None:
    scenario.script("One.", "Two.", faults=f"{said} {SENT} forever @2+")
    async with scenario.open(betas=BETAS) as chat:
        await chat.send([FILE, {"type": "text", "text": "What is in it?"}])
        turn = await chat.send("2")
        assert (turn.text, turn.requests) == ("Two.", 2)
        assert turn.remedies == (Remedy.STUB,)
        told = bodies(scenario)[-1]
        assert "What is in it?" in told
        assert '"file_id"' not in told
        assert b"file_01A" in chat.history[0].user, "the record is what was said"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, verbatim=False
        )


async def test_a_file_in_a_result_takes_nothing_along(scenario: Scenario) -> None:
    scenario.script(
        call("fetch", what="a"),
        "One.",
        "Two.",
        faults=f'404 message="File not found: file_01A" {SENT} forever @3+',
    )
    async with scenario.open(betas=BETAS, tools=fetches(scenario)) as chat:
        await chat.send("1")
        turn = await chat.send("2")
        assert (turn.text, turn.requests) == ("Two.", 2)
        shown = json.loads(bodies(scenario)[-1])["messages"][2]["content"][0]["content"]
        assert [part["type"] for part in shown] == ["text", "text"]
        assert shown[0]["text"] == "Fetched."
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"fetch a": 1}, budget=4, verbatim=False
        )


async def test_unnamed_missing_file_is_found_at_the_second_refusal(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.", "Three.", faults=f"404 {SENT} forever @3+")
    async with scenario.open(betas=BETAS) as chat:
        await chat.send("1")
        await chat.send([FILE])
        first = await chat.send("3")
        assert (first.fault is not None, first.remedies) == (True, ())
        second = await chat.send("3")
        assert second.state is CONFIRMED
        assert "One." in bodies(scenario)[-1], "nothing else is left out"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=9, verbatim=False
        )


# The server's copy of the conversation.


async def ended(scenario: Scenario, chat: Conversation, **how: Any) -> None:
    """Finish with the whole conversation in one request, byte for byte."""
    await chat.configure(threads="off")
    await scenario.finish(chat, ended=CONFIRMED, **how)


LOSSES = {
    "not found": "404 code=thread_not_found",
    "already continued": "400 code=thread_already_continued",
    "in flight": "400 code=thread_continue_in_flight",
    "mismatch": "400 code=thread_fingerprint_mismatch",
    "no code": '404 message="Not found"',
    "no code, named": '400 message="thread: cannot be continued"',
    "a page": "html 400",
    "an error that stays": "500",
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("threads", ["on", "auto"])
async def test_a_copy_that_is_lost_is_replayed_in_the_same_turn(
    scenario: Scenario, threads: str, loss: str
) -> None:
    times = 4 if loss == "an error that stays" else 1
    scenario.script(
        call("act", what="a"),
        "One.",
        "Two.",
        faults=f"{LOSSES[loss]} on thread times {times}",
    )
    async with scenario.open(threads=threads) as chat:
        turn = await chat.send("1")
        assert turn.text == "One."
        assert turn.remedies == (Remedy.REPLAY,)
        assert turn.requests == times + 2
        first, *_, last = asked(scenario, *range(1, times + 3))
        assert (first, last) == ("create", "create")
        await chat.send("2")
        assert asked(scenario, times + 3) == ["continue"], "and it is a copy again"
        await ended(scenario, chat, effects={"act a": 1}, budget=times + 3)


@pytest.mark.parametrize("loss", LOSSES)
async def test_auto_gives_up_what_is_lost_again_and_again(
    scenario: Scenario, loss: str
) -> None:
    answers = [str(number) for number in range(6)]
    scenario.script(*answers, faults=f"{LOSSES[loss]} on thread forever")
    async with scenario.open(threads="auto") as chat:
        turns = [await chat.send("And?") for _ in answers]
        assert [turn.text for turn in turns] == answers
        assert asked(scenario, len(scenario.requests)) == [None]
        assert turns[-1].requests == 1, "nothing is tried any more"
        await ended(scenario, chat, effects={}, budget=16)


@pytest.mark.parametrize("threads", ["on", "auto"])
async def test_a_server_that_keeps_no_copies_costs_a_request_and_nothing_else(
    scenario: Scenario, threads: str
) -> None:
    """`auto` is told once; `on` asks each turn, because settings may have changed."""
    scenario.script(
        call("act", what="a"),
        call("act", what="b"),
        "One.",
        "Two.",
        faults='400 code=thread_unsupported_request body="\\"thread\\"" forever',
    )
    async with scenario.open(threads=threads) as chat:
        await chat.send("1")
        assert asked(scenario, 1, 2, 3, 4) == ["create", None, None, None]
        turn = await chat.send("2")
        assert turn.requests == (2 if threads == "on" else 1)
        ran = {"act a": 1, "act b": 1}
        await ended(scenario, chat, effects=ran, budget=6)


async def test_server_thread_that_expired_in_a_pause_is_replayed(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.")
    async with scenario.open(threads="on") as chat:
        await chat.send("1")
        await scenario.clock.sleep(3600)
        turn = await chat.send("2")
        assert turn.remedies == (Remedy.REPLAY,)
        assert asked(scenario, 1, 2, 3) == ["create", "continue", "create"]
        await ended(scenario, chat, effects={}, budget=3, illegal=1)


@pytest.mark.parametrize("ending", ["reset", "eof", "clean"])
async def test_a_reply_that_was_lost_is_counted_and_its_turn_goes_on(
    scenario: Scenario, ending: str
) -> None:
    """The server has continued its copy with a reply that nobody here ever saw."""
    scenario.script(
        call("act", what="a"), "Lost.", "One.", faults=f"cut 3 {ending} on thread"
    )
    async with scenario.open(threads="on") as chat:
        turn = await chat.stream("1").turn()
        assert turn.text == "One."
        assert asked(scenario, 1, 2, 3, 4) == [
            "create",
            "continue",
            "continue",
            "create",
        ]
        assert chat.lost.replies == 1
        await ended(scenario, chat, effects={"act a": 1}, budget=4, illegal=1)
    async with scenario.again("a", scenario.store) as again:
        assert again.lost.replies == 1, "and it stays known"


async def test_a_refusal_leaves_nothing_in_the_copy(scenario: Scenario) -> None:
    from turnlatch.simulator import refuse

    scenario.script("One.", refuse(), "Two.")
    async with scenario.open(threads="on") as chat:
        await chat.send("1")
        await chat.send("Bad words")
        await chat.send("2")
        assert asked(scenario, 1, 2, 3) == ["create", "continue", "create"]
        assert "Bad words" not in bodies(scenario)[-1]
        await ended(scenario, chat, effects={}, budget=3)


async def test_reopened_conversation_continues_a_live_server_thread(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.")
    async with scenario.open(threads="on") as chat:
        await chat.send("1")
    async with scenario.open() as chat:
        assert chat.snapshot.thread.state is ThreadState.CONTINUING
        turn = await chat.send("2")
        assert turn.remedies == ()
        assert asked(scenario, 1, 2) == ["create", "continue"]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=2, verbatim=False, illegal=1
        )


async def test_reopened_conversation_replays_a_dead_server_thread(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.")
    async with scenario.open(threads="on") as chat:
        await chat.send("1")
    await scenario.clock.sleep(3600)
    async with scenario.open() as chat:
        turn = await chat.send("2")
        assert turn.remedies == (Remedy.REPLAY,)
        assert asked(scenario, 1, 2, 3) == ["create", "continue", "create"]
        await ended(scenario, chat, effects={}, budget=3, illegal=1)


@pytest.mark.parametrize("change", ["rewind", "compact", "configure", "fork"])
async def test_a_copy_of_another_past_is_never_continued(
    scenario: Scenario, change: str
) -> None:
    scenario.script("One.", "Two.", "Three.")
    async with scenario.open(threads="on") as chat:
        await chat.send("1")
        await chat.send("2")
        match change:
            case "rewind":
                await chat.rewind()
            case "compact":
                await chat.compact()
            case "configure":
                await chat.configure(settings={"output_config": {"effort": "low"}})
            case _:
                async with chat.fork("b") as branch:
                    await branch.send("3")
                assert asked(scenario, 3) == ["continue"]
        turn = await chat.send("3")
        assert turn.remedies == (() if change != "fork" else (Remedy.REPLAY,))
        assert asked(scenario, len(scenario.requests)) == ["create"]
        await _ended_after(scenario, chat, change)


async def _ended_after(scenario: Scenario, chat: Conversation, change: str) -> None:
    kept = {"rewind": (1, 3), "fork": (1, 2, 5)}.get(change)
    summary = 3 if change == "compact" else None
    await ended(
        scenario,
        chat,
        effects={},
        budget=5,
        history=kept,
        summary=summary,
        illegal=1 if change == "fork" else 0,
    )
