"""A turn whose credentials are refused waits as it stands, for as long as it takes, and the
same turn goes on with new ones: nothing is said again, nothing runs twice.

Sessions were lost, or went round in retries, when a token expired or a key was rotated
in the middle of a turn:

- https://github.com/anthropics/claude-code/issues/15007
- https://github.com/meawoppl/agent-portal/pull/1693
- https://github.com/NousResearch/hermes-agent/pull/82081
"""

import anthropic
import httpx2
import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, NoCredentialsError, Tool, Turn, tool
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


def client(scenario: Scenario, key: str) -> anthropic.AsyncAnthropic:
    """The real SDK with that key."""
    return scenario.client(key=key)


def waits(turn: Turn) -> None:
    """Hold a turn to waiting for credentials, of which it was told once."""
    assert turn.fault is not None
    assert turn.fault.kind is FaultKind.AUTH
    assert turn.suspended is not None
    assert turn.suspended.until is None, "nobody can know until when"


REFUSALS = {
    "a key": "401",
    "a right": "403",
    "a page that wants a login": "html 401",
    "a proxy": "407",
    "in a stream": "error authentication_error after 2",
    "a right, in a stream": "error permission_error after 2",
    "a hold": '400 code=organization_on_hold message="on hold"',
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_the_same_turn_goes_on_once_it_has_new_credentials(
    scenario: Scenario, refusal: str
) -> None:
    fault = REFUSALS[refusal]
    answers = ["Never heard."] if fault.startswith("error") else []
    scenario.script(call("act", what="a"), *answers, "Done.", faults=f"{fault} @2")
    async with scenario.open() as chat:
        turn = await chat.stream("Go").turn()
        waits(turn)
        assert turn.requests == 2, "it is asked once"
        assert scenario.clock.slept == [], "and nothing waits for a clock"
        await chat.configure(client=client(scenario, "new"))
        turn = await chat.retry()
        assert (turn.number, turn.text, turn.requests) == (1, "Done.", 3)
        asked = [one.raw for one in scenario.requests[1:]]
        assert asked[0] == asked[1], "the question is the very same"
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


async def test_page_of_a_gateway_is_an_access_fault_only_if_a_small_request_meets_it(
    scenario: Scenario,
) -> None:
    """A 403 that is not the API's: only where something short meets it, too, it is access."""
    scenario.script("One.", "Done.", faults="html 403 @2-8")
    async with scenario.open() as chat:
        await chat.send("Hello")
        turn = await chat.send("Go")
        waits(turn)
        assert turn.fault is not None
        assert "a proxy or filter answers 403" in turn.fault.message
        assert (turn.requests, turn.trials) == (2, 1)
        for _ in range(2):  # whoever asks again asks both again
            waits(await chat.retry())
        assert (await chat.retry()).text == "Done."
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=9)


def rotates(scenario: Scenario) -> Tool:
    """A tool in whose time the key is replaced by another."""

    @tool
    async def rotate(what: str) -> str:
        """Do something that takes longer than a key lasts."""
        scenario.note(f"rotate {what}")
        scenario.simulator.change(keys={"new"})
        return "done"

    return rotate


async def test_a_key_that_is_revoked_in_a_turn_is_replaced_and_the_turn_goes_on(
    scenario: Scenario,
) -> None:
    scenario.script(
        call("rotate", what="a"), call("act", what="b"), "Done.", keys={"old"}
    )
    tools = [*scenario.tools(), rotates(scenario)]
    async with scenario.open(client=client(scenario, "old"), tools=tools) as chat:
        waits(await chat.send("Go"))
        for _ in range(3):  # whoever is impatient costs a request and nothing else
            waits(await chat.retry())
        held = chat.history.wires()
        await chat.configure(client=client(scenario, "new"))
        turn = await chat.retry()
        assert (turn.number, turn.text, turn.requests) == (1, "Done.", 7)
        assert chat.history.wires()[: len(held)] == held
        scenario.simulator.change(keys={"new", "test"})  # that of the next process
        ran = {"rotate a": 1, "act b": 1}
        await scenario.finish(chat, ended=CONFIRMED, effects=ran, budget=7)


async def test_the_next_process_goes_on_with_its_own_credentials(
    scenario: Scenario,
) -> None:
    scenario.script(call("rotate", what="a"), "Done.", keys={"old"})
    tools = [*scenario.tools(), rotates(scenario)]
    async with scenario.open(client=client(scenario, "old"), tools=tools) as chat:
        waits(await chat.send("Go"))
        before = chat.snapshot
    scenario.simulator.change(keys={"test"})
    async with scenario.open(tools=tools) as chat:
        assert chat.snapshot == before, "it waits as it did"
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "Done.")
        await scenario.finish(chat, ended=CONFIRMED, effects={"rotate a": 1}, budget=3)


async def test_another_message_takes_the_results_along(scenario: Scenario) -> None:
    scenario.script(call("act", what="a"), "Two.", faults="401 @2")
    async with scenario.open() as chat:
        waits(await chat.send("1"))
        turn = await chat.send("2")
        assert (turn.number, turn.text) == (2, "Two.")
        assert [block["type"] for block in scenario.said(3)] == ["tool_result", "text"]
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)


async def test_missing_credentials_are_reported_before_any_request(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    scenario.script("One.")
    nobody = anthropic.AsyncAnthropic(
        api_key=None,
        http_client=httpx2.AsyncClient(transport=scenario.transport()),
    )
    with pytest.raises(NoCredentialsError):
        async with scenario.open(client=nobody):
            pytest.fail("it is open")
    nobody.api_key = "one that is taken away"
    async with scenario.open(client=nobody) as chat:
        nobody.api_key = None
        waits(await chat.send("1"))
        assert scenario.requests == ()
        await chat.configure(client=scenario.client())
        turn = await chat.retry()
        assert (turn.number, turn.text) == (1, "One.")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)


async def test_a_summary_that_is_refused_for_its_credentials_changes_nothing(
    scenario: Scenario,
) -> None:
    scenario.script("One.", "Two.", faults="401 on compaction")
    async with scenario.open() as chat:
        await chat.send("1")
        waits(await chat.compact())
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, history=(1,), summary=3
        )
