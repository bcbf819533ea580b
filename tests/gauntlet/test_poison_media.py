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
from tests.harness.media import JPEG, PDF, Block, document, image, png, words
from tests.harness.scenario import CONFIRMED, Scenario
from tests.harness.world import mentions

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


def shots(scenario: Scenario, *blocks: Block) -> Tool:
    """A tool that gives these blocks."""

    @tool(effect="once")
    async def shoot() -> list[Block]:
        """Take a picture."""
        scenario.note("shoot")
        return list(blocks)

    return shoot


def last(scenario: Scenario) -> list[Any]:
    """The messages of the last request."""
    body: Any = scenario.requests[-1].body
    return list(body["messages"])


@pytest.mark.parametrize("what", [what for what in BAD if what != "no source"])
async def test_a_bad_picture_from_a_tool_is_seen_before_it_is_sent(
    scenario: Scenario, what: str
) -> None:
    scenario.script(call("shoot"), "I see.")
    shoot = shots(scenario, words("Before."), BAD[what], GOOD, words("Behind."))
    async with scenario.open(tools=[shoot]) as chat:
        await chat.send("Look")
        (result,) = scenario.said(2)
        before, note, good, behind = result["content"]
        assert (before, good, behind) == (words("Before."), GOOD, words("Behind."))
        assert note["text"].startswith("[Left out:"), "the model is told"
        await scenario.finish(chat, ended=CONFIRMED, effects={"shoot": 1}, budget=2)


@pytest.mark.parametrize(
    "path",
    [
        "messages.2.content.1.tool_result.content.1.pdf.source.base64.data",
        "messages.2.content.1.content.1.source.data",
        "messages.2.content.1",
    ],
)
async def test_bad_medium_that_the_service_names_is_left_out(
    scenario: Scenario, path: str
) -> None:
    scenario.script(reply(call("look", path="a"), call("shoot")), "I see.")
    scenario.simulator.inject(LOCKED.format(path))
    shoot = shots(scenario, words("Before."), document(PDF))
    async with scenario.open(tools=[*scenario.tools(), shoot]) as chat:
        turn = await chat.send("Look")
        assert turn.remedies == (Remedy.STUB,)
        looked, shot = scenario.said(3)
        assert looked["content"] == "contents of a"
        assert mentions(shot, "Left out")
        whole = path == "messages.2.content.1"
        assert mentions(shot, "Before.") is not whole
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"look a": 1, "shoot": 1},
            budget=3,
            altered=[3],
            verbatim=False,
        )


@pytest.mark.parametrize("where", ["said", "shot"])
async def test_a_picture_that_was_good_once_is_left_out_when_it_is_not_any_more(
    scenario: Scenario, where: str
) -> None:
    scenario.script(
        call("shoot"), "One.", "Two.", faults="limit image_pixels_max=1000 @4+"
    )
    big = image(png(2000, 2000))
    shot, said = (big, GOOD) if where == "shot" else (GOOD, big)
    async with scenario.open(tools=[shots(scenario, shot)]) as chat:
        await chat.send("Look")
        await chat.send([said, words("And at this.")])
        turn = await chat.send("And?")
        assert turn.remedies == (Remedy.STUB,)
        told = json.dumps(last(scenario))
        assert told.count('"image"') == 1, "the other picture stays"
        assert "And at this." in told
        assert json.dumps(chat.messages).count('"image"') == 2, "and so does the record"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"shoot": 1}, budget=5, verbatim=False
        )


async def test_a_whole_album_that_is_refused_costs_a_few_requests_once(
    scenario: Scenario,
) -> None:
    """The service names one picture at a time; nobody asks it forty times."""
    scenario.script("One.", "Two.", faults="limit image_pixels_max=1000 @2+")
    album = [image(png(2000, 1000 + page)) for page in range(15)]
    async with scenario.open() as chat:
        await chat.send([*album, words("All of it.")])
        await chat.send("And?")
        assert mentions(last(scenario), "All of it.")
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=7, verbatim=False
        )


@pytest.mark.parametrize("what", ["a JPEG that is called a PNG", "too wide", "empty"])
async def test_a_bad_picture_of_the_users_own_is_refused_here_and_named(
    scenario: Scenario, what: str
) -> None:
    """Nobody changes what he says: he is told, and says it otherwise."""
    scenario.script("Hello.")
    async with scenario.open() as chat:
        await chat.send("Hi")
        with pytest.raises(SettingsError, match="block 1"):
            await chat.send([words("Look"), BAD[what]])
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)


async def test_a_locked_document_of_the_users_own_is_his_to_leave_out(
    scenario: Scenario,
) -> None:
    scenario.script("Hello.")
    scenario.simulator.inject(LOCKED.format("messages.2.content.1.pdf.source"))
    async with scenario.open() as chat:
        await chat.send("Hi")
        turn = await chat.send([words("Read this"), document(PDF)])
        assert turn.fault is not None
        assert turn.fault.path == "messages.2.content.1.pdf.source"
        await scenario.finish(chat, ended=FaultKind.BLOCK, effects={}, budget=2)


async def test_unnamed_bad_medium_is_found_at_the_second_refusal(
    scenario: Scenario,
) -> None:
    scenario.script(call("shoot"), "I see.", faults=ODD)
    async with scenario.open(tools=[shots(scenario, GOOD)]) as chat:
        turn = await chat.send("Look")
        assert turn.fault is not None
        assert turn.fault.kind is FaultKind.INVALID
        await chat.retry()
        told = json.dumps(scenario.said(len(scenario.requests)))
        assert "shoot was called" in told, "the model is told what was done"
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"shoot": 1},
            budget=7,
            altered=[len(scenario.requests)],
            verbatim=False,
        )


async def test_unnamed_bad_medium_is_found_in_the_past(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.", "Three.")
    async with scenario.open() as chat:
        await chat.send([GOOD, words("Look")])
        await chat.send("A secret: 42.")
        scenario.simulator.inject(ODD)
        await chat.send("And?")
        await chat.retry()
        told = json.dumps(last(scenario))
        assert '"image"' not in told
        assert "A secret: 42." in told, "what is not to blame stays"
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=12, verbatim=False
        )


async def test_a_bad_picture_in_the_past_does_not_keep_it_from_being_summarised(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.", "What was said so far.")
    async with scenario.open() as chat:
        await chat.send([GOOD, words("Look")])
        await chat.send("And?")
        scenario.simulator.inject(ODD)
        await chat.compact()
        assert mentions(chat.snapshot.bases[-1].block.decode(), "What was said so far.")
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=4, unheard=[4], verbatim=False
        )
