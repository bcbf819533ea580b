"""While the service runs a tool of its own, the assistant's turn is one piece: nothing
gets between such a call and its result, and a call that never got one is left out before
anything else is said.

Queued messages, hooks and reminders that arrived while a search was running closed the
message early; the call and its result landed in two messages, and every later request was
refused ("`web_search` tool use ... was found without a corresponding
`web_search_tool_result` block"):

- https://github.com/anthropics/claude-code/issues/89348
- https://github.com/anthropics/claude-code/issues/95406
- https://github.com/BerriAI/litellm/issues/22240
"""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs
import pytest
from tests.harness.scenario import CONFIRMED, Scenario
from tests.harness.world import mentions

from turnlatch import Conversation, FaultKind, Remedy, RetryPolicy, TurnState, tool
from turnlatch.simulator import (
    Answer,
    call,
    reply,
    server_call,
    server_result,
    think,
)

pytestmark = pytest.mark.anyio

URL = "https://example.org/news"
SEARCH = reply(
    think("I need news."), "Searching.", server_call("web_search", query="a")
)
FOUND = reply(server_result(URL), "It rains.")
BOTH = reply(SEARCH, FOUND, pace_seconds=0.1)
BLOCKS = ["thinking", "text", "server_tool_use", "web_search_tool_result", "text"]
EVENTS = 20
"""How many events the stream of both has behind its first one; apart they have three
more."""

BESIDE = reply(server_call("web_search", query="a"), call("look", path="b"))


@tool
async def web_search(query: str) -> str:
    """Never run here: the service runs it."""
    raise AssertionError(query)


OFFERED = attrs.evolve(
    web_search, definition={"type": "web_search_20250305", "name": "web_search"}
)


def opened(scenario: Scenario, **options: Any) -> Conversation:
    """A conversation in which the service may search."""
    ours = scenario.tools()
    begun = scenario.begun
    chat = scenario.open(tools=[*ours, OFFERED], **options)
    scenario.begun = begun  # of the tools that this conversation has
    return chat


def types(blocks: Any) -> list[str]:
    """The types of some blocks."""
    return [block["type"] for block in blocks]


class Between:
    """Does something at the moment before one of the events of a stream comes."""

    def __init__(self, scenario: Scenario, event: int) -> None:
        self._left = event
        self._now = anyio.Event()
        self.client = scenario.client(sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        del seconds
        self._left -= 1
        if self._left < 0:
            self._now.set()
        for _ in range(5):  # let the others do what they want
            await anyio.lowlevel.checkpoint()

    async def meddle(
        self, chat: Conversation, what: Callable[[], Awaitable[object]]
    ) -> None:
        """Ask, and do the other thing when it is time."""
        async with anyio.create_task_group() as group:
            group.start_soon(chat.stream("News?").turn)
            await self._now.wait()
            assert chat.state is TurnState.SENT
            await what()


def sent(scenario: Scenario, request: int) -> list[dict[str, Any]]:
    """The messages of a request."""
    body: Any = scenario.requests[request - 1].body
    return list(body["messages"])


@pytest.mark.parametrize("event", range(EVENTS + 3))
async def test_whatever_arrives_while_a_search_is_paused_comes_after_it(
    scenario: Scenario, event: int
) -> None:
    paced = [attrs.evolve(one, pace_seconds=0.1) for one in (SEARCH, FOUND)]
    scenario.script(*paced, "You said so.")
    between = Between(scenario, event)
    async with opened(scenario, client=between.client) as chat:
        await between.meddle(chat, lambda: chat.send("In between."))
        assert [one["role"] for one in sent(scenario, 2)] == ["user", "assistant"]
        assert types(sent(scenario, 3)[-1]["content"]) == ["text"]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)


@pytest.mark.parametrize("event", range(EVENTS))
async def test_stopped_at_any_event_of_a_search_none_of_it_stays(
    scenario: Scenario, event: int
) -> None:
    scenario.script(BOTH)
    between = Between(scenario, event)
    async with opened(scenario, client=between.client) as chat:
        await between.meddle(chat, chat.interrupt)
        assert len(chat.history) == 0
        await scenario.finish(
            chat, ended=FaultKind.CANCELLED, effects={}, budget=1, unheard=[1]
        )


NEVER_ENDED: dict[str, tuple[Answer, ...]] = {
    "paused, then down": (SEARCH,),
    "paused twice, then down": (
        SEARCH,
        reply(server_result(URL), server_call("web_search", query="b")),
    ),
    "beside a call, then down": (BESIDE,),
}


@pytest.mark.parametrize("how", NEVER_ENDED)
async def test_abandoned_search_is_left_out_before_the_next_message(
    scenario: Scenario, how: str
) -> None:
    answers = NEVER_ENDED[how]
    first = len(answers) + 1
    scenario.script(*answers, faults=f"529 @{first}-{first + 1}")
    ran = {"look b": 1} if answers[0] is BESIDE else {}
    async with opened(scenario, retry=RetryPolicy(attempts_max=2)) as chat:
        await chat.send("News?")
        after = await scenario.finish(
            chat,
            ended=FaultKind.TRANSIENT,
            effects=ran,
            budget=first + 1,
            verbatim=False,
        )
    assert after.remedies == (Remedy.CLOSE,)
    assert not mentions(sent(scenario, first + 2), "It rains"), "nothing is made up"


@pytest.mark.parametrize(
    "answers",
    [
        (reply(server_call("web_search", query="a"), stop_reason="end_turn"),),
        (SEARCH, reply("I could not find it.")),
        (BESIDE, reply("I could not find it.")),
        (BESIDE, call("look", path="c"), reply("I could not find it.")),
    ],
    ids=["ended", "resumed without", "answered without", "went on without"],
)
async def test_a_search_of_which_the_service_says_no_more_is_left_out(
    scenario: Scenario, answers: tuple[Answer, ...]
) -> None:
    """What was confirmed is not always what may be sent back."""
    scenario.script(*answers)
    ran = {"look b": 1} if answers[0] is BESIDE else {}
    ran |= {"look c": 1} if len(answers) == 3 else {}
    async with opened(scenario) as chat:
        await chat.send("News?")
        await scenario.finish(
            chat, ended=CONFIRMED, effects=ran, budget=3, verbatim=False
        )


async def test_search_next_to_a_client_call_is_answered_by_results_only(
    scenario: Scenario,
) -> None:
    scenario.script(
        reply(server_call("web_search", query="a"), call("ask", what="b")), FOUND
    )
    async with opened(scenario) as chat:
        turn = await chat.send("News?")
        await chat.approve(turn.awaiting[0].id)
        assert types(sent(scenario, 2)[-1]["content"]) == ["tool_result"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"ask b": 1}, budget=2)


async def test_text_next_to_an_open_search_removes_it(
    scenario: Scenario,
) -> None:
    scenario.script(
        reply(server_call("web_search", query="a"), call("hang", what="b")), "Fine."
    )
    async with opened(scenario) as chat:
        await scenario.cancelled_while_it_hangs(chat, "News?")
        await chat.send("Never mind.")
        _, asked, said = sent(scenario, 2)
        assert types(asked["content"]) == ["tool_use"]
        assert types(said["content"]) == ["tool_result", "text"]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={"hang b": 1}, budget=2, verbatim=False
        )


async def test_a_pause_outlives_the_process(scenario: Scenario) -> None:
    scenario.script(SEARCH, FOUND, faults="529 @2")
    async with opened(scenario, retry=RetryPolicy(attempts_max=1)) as chat:
        await chat.send("News?")
    async with opened(scenario, retry=RetryPolicy(attempts_max=1)) as chat:
        turn = await chat.retry()
        assert turn.text == "It rains."
        assert scenario.requests[2].raw == scenario.requests[1].raw
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)


async def test_a_summary_made_while_a_search_is_paused_leaves_it_whole(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.", SEARCH, FOUND, faults="413 @4")
    async with opened(scenario) as chat:
        await chat.send("1")
        await chat.send("2")
        await chat.send("News?")
        summary, asked, paused = sent(scenario, 6)
        assert types(summary["content"]) == ["compaction"]
        assert types(asked["content"]) == ["text"]
        assert types(paused["content"]) == BLOCKS[:3]
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=6, verbatim=False
        )
