"""An image or a document that the service refuses never stands in the way of what is said
next: a note is put in its place, where it is seen to be bad before it is sent, and once
where the service says so. The rest of what stood beside it stays, and so does the record.

One picture with the wrong label, of too many pixels, or cut in half, and one locked PDF
made every later request a 400, and clearing the conversation the only way out:

- https://github.com/anthropics/claude-code/issues/2939
- https://github.com/anthropics/claude-code/issues/11975
- https://github.com/anthropics/claude-code/issues/25202
"""

import json
from typing import Any

import pytest
from tests.gauntlet.course import CONFIRMED, Course
from tests.gauntlet.media import JPEG, PDF, Block, document, image, png, words

from turnlatch import FaultKind, Remedy, SettingsError, Tool, tool
from turnlatch.simulator import call, reply

pytestmark = pytest.mark.anyio

BAD: dict[str, Block] = {
    "a JPEG that is called a PNG": image(JPEG),
    "too wide": image(png(8001, 10)),
    "cut in half": image(png()[:10]),
    "empty": image(b""),
    "no base64": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "%%%%"},
    },
    "an unknown type": image(png(), "image/tiff"),
    "no source": {"type": "image"},
    "too many bytes": image(png(padding=8_000_000)),
    "a PDF that is none": document(b"Hello."),
    "an empty PDF": document(b""),
}
GOOD = image(png(20, 20))
LOCKED = (
    '400 message="{}: The PDF specified is password protected." body=JVBERi forever'
)
ODD = '400 message="Could not process image" body=iVBOR forever'


def shots(course: Course, *blocks: Block) -> Tool:
    """A tool that gives these blocks."""

    @tool(effect="once")
    async def shoot() -> list[Block]:
        """Take a picture."""
        course.note("shoot")
        return list(blocks)

    return shoot


def last(course: Course) -> list[Any]:
    """The messages of the last request."""
    body: Any = course.requests[-1].body
    return list(body["messages"])


@pytest.mark.parametrize("what", [what for what in BAD if what != "no source"])
async def test_a_bad_picture_from_a_tool_is_seen_before_it_is_sent(
    course: Course, what: str
) -> None:
    course.script(call("shoot"), "I see.")
    shoot = shots(course, words("Before."), BAD[what], GOOD, words("Behind."))
    async with course.open(tools=[shoot]) as chat:
        await chat.send("Look")
        (result,) = course.said(2)
        before, note, good, behind = result["content"]
        assert (before, good, behind) == (words("Before."), GOOD, words("Behind."))
        assert note["text"].startswith("[Left out:"), "the model is told"
        await course.finish(chat, ended=CONFIRMED, effects={"shoot": 1}, budget=2)


@pytest.mark.parametrize(
    "path",
    [
        "messages.2.content.1.tool_result.content.1.pdf.source.base64.data",
        "messages.2.content.1.content.1.source.data",
        "messages.2.content.1",
    ],
)
async def test_what_only_the_service_sees_is_left_out_once_it_is_named(
    course: Course, path: str
) -> None:
    course.script(reply(call("look", path="a"), call("shoot")), "I see.")
    course.simulator.inject(LOCKED.format(path))
    shoot = shots(course, words("Before."), document(PDF))
    async with course.open(tools=[*course.tools(), shoot]) as chat:
        turn = await chat.send("Look")
        assert turn.remedies == (Remedy.STUB,)
        looked, shot = course.said(3)
        assert looked["content"] == "contents of a"
        assert "Left out" in json.dumps(shot)
        whole = path == "messages.2.content.1"
        assert ("Before." in json.dumps(shot)) is not whole
        await course.finish(
            chat,
            ended=CONFIRMED,
            effects={"look a": 1, "shoot": 1},
            budget=3,
            altered=[3],
            verbatim=False,
        )


@pytest.mark.parametrize("where", ["said", "shot"])
async def test_a_picture_that_was_good_once_is_left_out_when_it_is_not_any_more(
    course: Course, where: str
) -> None:
    course.script(
        call("shoot"), "One.", "Two.", faults="limit image_pixels_max=1000 @4+"
    )
    big = image(png(2000, 2000))
    shot, said = (big, GOOD) if where == "shot" else (GOOD, big)
    async with course.open(tools=[shots(course, shot)]) as chat:
        await chat.send("Look")
        await chat.send([said, words("And at this.")])
        turn = await chat.send("And?")
        assert turn.remedies == (Remedy.STUB,)
        told = json.dumps(last(course))
        assert told.count('"image"') == 1, "the other picture stays"
        assert "And at this." in told
        assert json.dumps(chat.messages).count('"image"') == 2, "and so does the record"
        await course.finish(
            chat, ended=CONFIRMED, effects={"shoot": 1}, budget=5, verbatim=False
        )


async def test_a_whole_album_that_is_refused_costs_a_few_requests_once(
    course: Course,
) -> None:
    """The service names one picture at a time; nobody asks it forty times."""
    course.script("One.", "Two.", faults="limit image_pixels_max=1000 @2+")
    album = [image(png(2000, 1000 + page)) for page in range(15)]
    async with course.open() as chat:
        await chat.send([*album, words("All of it.")])
        await chat.send("And?")
        assert "All of it." in json.dumps(last(course))
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=7, verbatim=False)


@pytest.mark.parametrize("what", ["a JPEG that is called a PNG", "too wide", "empty"])
async def test_a_bad_picture_of_the_users_own_is_refused_here_and_named(
    course: Course, what: str
) -> None:
    """Nobody changes what he says: he is told, and says it otherwise."""
    course.script("Hello.")
    async with course.open() as chat:
        await chat.send("Hi")
        with pytest.raises(SettingsError, match="block 1"):
            await chat.send([words("Look"), BAD[what]])
        await course.finish(chat, ended=CONFIRMED, effects={}, budget=1)


async def test_a_locked_document_of_the_users_own_is_his_to_leave_out(
    course: Course,
) -> None:
    course.script("Hello.")
    course.simulator.inject(LOCKED.format("messages.2.content.1.pdf.source"))
    async with course.open() as chat:
        await chat.send("Hi")
        turn = await chat.send([words("Read this"), document(PDF)])
        assert turn.fault is not None
        assert turn.fault.path == "messages.2.content.1.pdf.source"
        await course.finish(chat, ended=FaultKind.BLOCK, effects={}, budget=2)


async def test_what_nobody_names_is_found_once_the_same_is_refused_again(
    course: Course,
) -> None:
    course.script(call("shoot"), "I see.", faults=ODD)
    async with course.open(tools=[shots(course, GOOD)]) as chat:
        turn = await chat.send("Look")
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.INVALID
        await chat.retry()
        told = json.dumps(course.said(len(course.requests)))
        assert "shoot was called" in told, "the model is told what was done"
        await course.finish(
            chat,
            ended=CONFIRMED,
            effects={"shoot": 1},
            budget=7,
            altered=[len(course.requests)],
            verbatim=False,
        )


async def test_what_nobody_names_is_found_in_the_past_as_well(course: Course) -> None:
    course.script("One.", "Two.", "Three.")
    async with course.open() as chat:
        await chat.send([GOOD, words("Look")])
        await chat.send("A secret: 42.")
        course.simulator.inject(ODD)
        await chat.send("And?")
        await chat.retry()
        told = json.dumps(last(course))
        assert '"image"' not in told
        assert "A secret: 42." in told, "what is not to blame stays"
        await course.finish(
            chat, ended=CONFIRMED, effects={}, budget=12, verbatim=False
        )


async def test_a_bad_picture_in_the_past_does_not_keep_it_from_being_summarised(
    course: Course,
) -> None:
    course.script("One.", "Two.", "What was said so far.")
    async with course.open() as chat:
        await chat.send([GOOD, words("Look")])
        await chat.send("And?")
        course.simulator.inject(ODD)
        await chat.compact()
        assert "What was said so far." in json.dumps(
            chat.snapshot.bases[-1].block.decode()
        )
        await course.finish(
            chat, ended=CONFIRMED, effects={}, budget=4, unheard=[4], verbatim=False
        )
