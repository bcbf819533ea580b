"""What the service says and what it takes back are two things: the record keeps a reply as
it came, and what is sent of it is what may be sent. What nobody can know beforehand costs
one refusal, and never the conversation.

Replies carried fields, names, ids and inputs that the service refuses in a request ("Extra
inputs are not permitted", "Input should be a valid dictionary"), so that a conversation
was stuck behind a reply that it had been given itself:

- https://github.com/cloudflare/agents/pull/1661
- https://github.com/anthropics/claude-code/issues/4378
- https://github.com/anthropics/claude-code/issues/31033
"""

import json
from typing import Any

import attrs
import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import Conversation, tool
from turnlatch.simulator import Answer, Raw, reply

pytestmark = pytest.mark.anyio

Block = dict[str, Any]

WORDS: Block = {"type": "text", "text": "Words."}
CITED: Block = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
    "file_id": None,
}


def asked(**more: Any) -> Block:
    """A call of a tool there is."""
    call = {"type": "tool_use", "id": "toolu_01a", "name": "look"}
    return {**call, "input": {"path": "a"}, **more}


def searched(id_: str = "srvtoolu_01a", **more: Any) -> Block:
    """A call of a tool of the service."""
    call = {"type": "server_tool_use", "id": id_, "name": "web_search"}
    return {**call, "input": {"query": "x"}, **more}


def found(id_: str = "srvtoolu_01a", **more: Any) -> Block:
    """Its result."""
    return {"type": "web_search_tool_result", "tool_use_id": id_, "content": [], **more}


RAN = {"look a": 1}
MENDED: dict[str, tuple[list[Block], dict[str, int]]] = {
    "fields of answers only": (
        [{**WORDS, "parsed": {"a": 1}, "stop_details": None, "citations": None}],
        {},
    ),
    "a field of a citation": ([{**WORDS, "citations": [CITED]}], {}),
    "a text that is null": ([{"type": "text", "text": None}, WORDS], {}),
    "a NUL": ([{"type": "text", "text": "a\x00b"}], {}),
    "a thought without a signature": (
        [{"type": "thinking", "thinking": "Hm.", "signature": ""}, WORDS],
        {},
    ),
    "a thought without anything": ([{"type": "thinking"}, WORDS], {}),
    "redacted nothing": ([{"type": "redacted_thinking", "data": ""}, WORDS], {}),
    "a caller that is null": ([asked(caller=None, toolset_name=None)], RAN),
    "a call with more": ([asked(parsed={"path": "a"}, index=0)], RAN),
    "an input that is null": ([asked(input=None)], {}),
    "an input that is a list": ([asked(input=["a"])], {}),
    "an input that is text": ([asked(input="{}")], {}),
    "no input": ([{k: v for k, v in asked().items() if k != "input"}], {}),
    "a name of 457 characters": ([asked(name="look" + "k" * 453)], {}),
    "a name with spaces": ([asked(name="look at: this")], {}),
    "no name": ([asked(name="")], {}),
    "an id with a colon": ([asked(id="call:1/2")], RAN),
    "a search without an input": ([searched(input=None), found(), WORDS], {}),
    "a search with an odd id": ([searched("srv:1"), found("srv:1"), WORDS], {}),
    "a result with more": ([searched(), found(parsed=1, caller=None), WORDS], {}),
    "a search without a result": ([searched(), WORDS], {}),
    "an upload with more": (
        [{"type": "container_upload", "file_id": "file_1", "status": "done"}, WORDS],
        {},
    ),
}
"""Replies of which something can be sent back that everybody takes, and what ran."""

REFUSED: dict[str, tuple[list[Block], dict[str, int]]] = {
    "a block of tomorrow": ([{"type": "hologram", "data": "x"}, WORDS], {}),
    "nothing but a block of tomorrow": ([{"type": "hologram", "data": "x"}], {}),
    "a block of tomorrow and a call": ([{"type": "hologram"}, asked()], RAN),
    "a citation of tomorrow": ([{**WORDS, "citations": [{"type": "odour"}]}], {}),
    "a caller of tomorrow": ([asked(caller={"type": "robot"})], RAN),
    "a result without a search": ([found("srvtoolu_09"), WORDS], {}),
    "a result of ours": (
        [{"type": "tool_result", "tool_use_id": "toolu_09", "content": "x"}, WORDS],
        {},
    ),
    "a document": (
        [
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "x"},
            },
            WORDS,
        ],
        {},
    ),
}
"""Replies of which only the service knows that it does not take them back."""


@tool
async def web_search(query: str) -> str:
    """Never run here: the service runs it."""
    raise AssertionError(query)


OFFERED = attrs.evolve(
    web_search, definition={"type": "web_search_20250305", "name": "web_search"}
)


def answer(blocks: list[Block]) -> Answer:
    """A reply of exactly these blocks."""
    return reply(*map(Raw, blocks))


async def said(chat: Conversation, how: str, text: str) -> None:
    """Say something, and have the answer at once or piece by piece."""
    await (chat.send(text) if how == "whole" else chat.stream(text).turn())


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("what", MENDED)
async def test_reply_known_to_be_refused_is_not_sent_back(
    scenario: Scenario, what: str, how: str
) -> None:
    blocks, ran = MENDED[what]
    scenario.script(answer(blocks), "Yes.", "And yes.")
    async with scenario.open(tools=[*scenario.tools(), OFFERED]) as chat:
        await said(chat, how, "1")
        await said(chat, how, "2")
        assert [one.status for one in scenario.requests].count(200) == len(
            scenario.requests
        )
        await scenario.finish(
            chat, ended=CONFIRMED, effects=ran, budget=3, verbatim=False
        )


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("what", REFUSED)
async def test_reply_that_only_the_service_refuses_costs_one_refusal(
    scenario: Scenario, what: str, how: str
) -> None:
    blocks, ran = REFUSED[what]
    scenario.script(answer(blocks), "Yes.", "And yes.")
    async with scenario.open(tools=[*scenario.tools(), OFFERED]) as chat:
        await said(chat, how, "1")
        await said(chat, how, "2")
        assert [one.status for one in scenario.requests].count(400) == 1
        altered = range(2, 4) if ran else ()  # the result of a call that is not shown
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects=ran,
            budget=4,
            altered=altered,
            verbatim=False,
            illegal=1,
        )


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("R1", "a block of tomorrow"),
        ("R9", "a result without a search"),
        ("R14", "a document"),
        ("R1", "a citation of tomorrow"),
    ],
)
async def test_a_rule_that_is_made_after_twenty_turns_costs_one_refusal(
    scenario: Scenario, rule: str, what: str
) -> None:
    """It was taken back twenty times, and from some day on it is not."""
    blocks, _ = REFUSED[what]
    turns = 20
    scenario.script(
        "Hello.",
        answer(blocks),
        *["Yes."] * turns,
        faults=f"rule {rule} on @{turns + 1}",
        rules_off=frozenset({rule}),
    )
    async with scenario.open() as chat:
        for number in range(turns):
            await chat.send(f"Say {number}")
        before = [one.content for one in chat.history]
        turn = await chat.send("Still?")
        assert turn.requests == 2
        assert [one.content for one in chat.history][:turns] == before
        told = json.dumps(scenario.requests[-1].body)
        assert all(f'"Say {one}"' in told for one in range(2, turns))
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={},
            budget=turns + 2,
            verbatim=False,
        )
