"""The public surface as a type checker sees it. Checked, never run."""

from typing import Any, assert_never, assert_type

import attrs

from turnlatch import (
    Arrived,
    CallReport,
    Conversation,
    Cursor,
    Missed,
    Move,
    Progressed,
    Recorded,
    RetryScheduled,
    StreamEvent,
    TextDelta,
    Tool,
    Turn,
    TurnEnded,
    TurnState,
    sync,
    tool,
)
from turnlatch_states.api.reply import Reply, Usage
from turnlatch_states.api.rules import Finding
from turnlatch_states.request.history import History


@attrs.frozen
class Answer:
    """What a model is asked for."""

    city: str


@tool
async def bare(path: str) -> str:
    """Bare."""
    return path


@tool(effect="safe", timeout=1, max_output="1 KiB")
def optioned(path: str) -> str:
    """With options."""
    return path


assert_type(bare, Tool)
assert_type(optioned, Tool)


async def conversation() -> None:
    async with Conversation.open("a", tools=[bare, optioned]) as chat:
        assert_type(chat, Conversation)
        turn = await chat.send("x")
        assert_type(turn, Turn[None])
        assert_type(turn.state, TurnState)
        assert_type(turn.reply, Reply | None)
        assert_type(turn.calls, tuple[CallReport, ...])
        assert_type(turn.usage, Usage)
        assert_type(turn.raise_for_failure(), Turn[None])
        asked = await chat.send("x", output=Answer, model="m", settings={"speed": None})
        assert_type(asked, Turn[Answer])
        assert_type(asked.output, Answer)
        assert_type((await chat.send("x", output=list[int] | None)).output, Any)
        assert_type(asked.cost, float | None)
        async for event in chat.stream([{"type": "text", "text": "x"}]):
            assert_type(event, StreamEvent)
            shown(event)
        assert_type(await chat.interrupt(), bool)
        assert_type(await chat.compact(), Turn)
        assert_type(chat.fork("b"), Conversation)
        assert_type(chat.history, History)
        assert_type(chat.check(), tuple[Finding, ...])
        assert_type(chat.cursor, Cursor)
        assert_type(chat.diagram("svg"), str)


def shown(event: StreamEvent) -> None:
    """A match narrows a stream event, and the journal event that it carries."""
    match event:
        case Arrived(delta=TextDelta(text=text)):
            assert_type(text, str)
        case Recorded(event=RetryScheduled() as wait):
            assert_type(wait.wait_seconds, float)
            assert_type(event.calls, tuple[CallReport, ...])
        case Recorded(move=Move(target=target)):
            assert_type(target, str)
        case Recorded() | Arrived() | Progressed() | Missed():
            assert_type(event.cursor, Cursor)
        case TurnEnded():
            assert_type(event.turn, Turn)
        case _:
            assert_never(event)


def twin() -> None:
    with sync.Conversation.open("a", tools=[bare]) as chat:
        assert_type(chat, sync.Conversation)
        assert_type(chat.send("x"), Turn[None])
        assert_type(chat.interrupt(), bool)
        assert_type(chat.steer("x", key="k"), bool)
        assert_type(chat.fork("b"), sync.Conversation)
        assert_type(chat.stream("x").turn(), Turn)
        assert_type(chat.history, History)
        assert_type(chat.watch(Cursor()), sync.Watch)
        for event in chat.stream("x"):
            assert_type(event, StreamEvent)


def twin_misspelled() -> None:
    """Each option is named in the signature: another name is an error."""
    sync.Conversation.open("a", toolz=[bare])  # type: ignore[call-arg] # the point
    with sync.Conversation.open("a", max_tokens="9") as chat:  # type: ignore[arg-type] # the point
        chat.configure(modl="x")  # type: ignore[call-arg] # the point
