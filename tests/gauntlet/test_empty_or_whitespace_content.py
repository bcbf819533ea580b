"""No block without words and no message without blocks goes out or is history, whoever
made it: the user, a tool, the service, or a stream that was cut.

One empty text block in a reply, or one tool that answered nothing, and every later request
was refused ("text content blocks must be non-empty", "all messages must have non-empty
content"):

- https://github.com/anthropics/claude-code/issues/24662
- https://github.com/anthropics/claude-code/issues/60313
- https://github.com/anomalyco/opencode/issues/7493
"""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.gauntlet.course import CONFIRMED, Course

from turnlatch import FaultKind, SettingsError, Tool, tool
from turnlatch.simulator import Answer, Raw, call, reply, text, think

pytestmark = pytest.mark.anyio

EMPTY = Raw({"type": "text", "text": ""})
BLANK = Raw({"type": "text", "text": " \n\t\u3000"})
NULL = Raw({"type": "text", "text": None})

REPLIES: dict[str, Answer] = {
    "empty": reply(EMPTY),
    "blank": reply(BLANK),
    "null": reply(NULL),
    "nothing": Answer(),
    "many": reply(EMPTY, BLANK, NULL, EMPTY),
    "before words": reply(EMPTY, "Words."),
    "behind words": reply("Words.", BLANK),
    "behind a thought": reply(think("Hm."), EMPTY),
    "cut off at once": Answer((), "max_tokens"),
    "stopped at once": Answer((), "stop_sequence"),
}
SAID: dict[str, Any] = {
    "nothing": "",
    "space": "  \n",
    "a space that is none in ASCII": "\u00a0\u3000",
    "an empty block": [{"type": "text", "text": ""}],
    "a blank block": [
        {"type": "text", "text": "Words."},
        {"type": "text", "text": " "},
    ],
}
GIVEN: dict[str, Any] = {
    "empty": "",
    "space": " \n ",
    "none": None,
    "bytes": b"",
    "block": [{"type": "text", "text": ""}],
    "blocks": [{"type": "text", "text": " "}, {"type": "text", "text": "Words."}],
    "list": [],
    "failed": Exception(""),
    "blank": ValueError(" \n"),
}


def blocks(course: Course) -> Iterator[dict[str, Any]]:
    """Every block of every request, those inside results too."""
    for request in course.requests:
        body: Any = request.body
        for message in body["messages"]:
            assert message["content"], "a message has something in it"
            for block in message["content"]:
                yield block
                inner = block.get("content")
                yield from inner if isinstance(inner, list) else ()


def check_words(course: Course) -> None:
    """Every text says something, and every result that has a content does."""
    for block in blocks(course):
        if block["type"] == "text":
            assert block["text"].strip()
        elif block["type"] == "tool_result" and "content" in block:
            assert block["content"]
            assert str(block["content"]).strip()


def giving(course: Course, name: str) -> Tool:
    """A tool that gives what has that name."""
    value = GIVEN[name]

    @tool(effect="once", name=f"give_{name}")
    async def give() -> Any:
        """Give it."""
        course.note(f"give {name}")
        if isinstance(value, Exception):
            raise value
        return value

    return give


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("what", REPLIES)
async def test_a_reply_without_words_is_nothing_in_the_next_request(
    course: Course, what: str, how: str
) -> None:
    course.script(REPLIES[what], "Two.")
    async with course.open(settings={"thinking": {"type": "adaptive"}}) as chat:
        await (chat.send("1") if how == "whole" else chat.stream("1").turn())
        turn = await chat.send("2")
        assert turn.text == "Two."
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=2, verbatim=False)
    check_words(course)


@pytest.mark.parametrize("blank", [EMPTY, BLANK, NULL], ids=["empty", "blank", "null"])
async def test_a_call_behind_a_text_without_words_is_run_and_answered(
    course: Course, blank: Raw
) -> None:
    course.script(reply(blank, call("look", path="a"), blank), "A file.")
    async with course.open() as chat:
        await chat.send("Look")
        await course.finish(
            chat, ended=CONFIRMED, effects={"look a": 1}, budget=2, verbatim=False
        )
    check_words(course)


async def test_tools_that_answer_nothing_are_answered_all_the_same(
    course: Course,
) -> None:
    course.script(reply(*[call(f"give_{name}") for name in GIVEN]), "Nothing.")
    async with course.open(tools=[giving(course, name) for name in GIVEN]) as chat:
        await chat.send("Go")
        assert [one["type"] for one in course.said(2)] == ["tool_result"] * len(GIVEN)
        await course.finish(
            chat,
            ended=CONFIRMED,
            effects={f"give {name}": 1 for name in GIVEN},
            budget=2,
        )
    check_words(course)


@pytest.mark.parametrize("what", SAID)
async def test_words_of_the_users_that_are_none_are_not_sent(
    course: Course, what: str
) -> None:
    course.script("Hello.")
    async with course.open() as chat:
        await chat.send("Hi")
        with pytest.raises(SettingsError):
            await chat.send(SAID[what])
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=1)
    check_words(course)


async def test_words_that_are_none_behind_a_call_do_not_cost_its_result(
    course: Course,
) -> None:
    course.script(call("hang", what="a"), "I see.")
    async with course.open() as chat:
        await course.cancelled_while_it_hangs(chat, "Go")
        for said in SAID.values():
            with pytest.raises(SettingsError):
                await chat.send(said)
        await chat.send("Words.")
        await course.finish(chat, ended=CONFIRMED, effects={"hang a": 1}, budget=2)
    assert [one["type"] for one in course.said(2)] == ["tool_result", "text"]
    check_words(course)


async def test_no_content_at_all_is_no_message(course: Course) -> None:
    course.script("Hello.")
    async with course.open() as chat:
        await chat.send("Hi")
        with pytest.raises(SettingsError):
            await chat.send([])
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=1)


@pytest.mark.parametrize("events", range(2, 7))
async def test_a_stream_that_is_cut_before_its_first_word_leaves_no_message(
    course: Course, events: int
) -> None:
    course.script("Words.", "Words.", faults=f"cut {events} eof @1")
    async with course.open() as chat:
        turn = await chat.stream("1").turn()
        assert turn.text == "Words."
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=2)
    check_words(course)


async def test_a_no_without_a_reason_says_something_and_a_pin_without_words_is_none(
    course: Course,
) -> None:
    course.script(call("ask", what="a"), "I see.", "Yes.")
    async with course.open() as chat:
        turn = await chat.send("Go")
        await chat.deny(turn.awaiting[0].id, "")
        with pytest.raises(SettingsError):
            await chat.pin("empty", "")
        await chat.compact()
        await chat.send("On we go")
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=4, verbatim=False)
    check_words(course)


@pytest.mark.parametrize("summary", [" \n", ""], ids=["blank", "empty"])
async def test_a_summary_without_words_stands_for_nothing(
    course: Course, summary: str
) -> None:
    course.script(
        "One.", reply(Raw({"type": "text", "text": summary})), summaries=[summary]
    )
    async with course.open() as chat:
        await chat.send("1")
        turn = await chat.compact()
        assert turn.fault is not None
        assert chat.snapshot.base is None
        await course.finish(
            chat, ended=FaultKind.COMPACTION, effects={}, budget=3, unheard=[3]
        )
    check_words(course)


async def test_where_a_view_leaves_nothing_of_a_message_there_is_no_message(
    course: Course,
) -> None:
    """Thinking alone, which is not taken back: the whole reply is left out."""
    refused = "messages.1.content.0: Invalid `signature` in `thinking` block"
    course.script(
        reply(think("Hm.")),
        text("Two."),
        faults=f'400 message="{refused}" body="\\"signature\\":" forever',
    )
    async with course.open(model="claude-opus-5") as chat:
        await chat.send("1")
        await chat.send("2")
        roles = [one["role"] for one in messages(course)]
        assert roles == ["user", "user"]
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=3, verbatim=False)
    check_words(course)


def messages(course: Course) -> list[dict[str, Any]]:
    """The messages of the last request."""
    body: Any = course.requests[-1].body
    return list(body["messages"])
