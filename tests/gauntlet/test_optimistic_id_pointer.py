"""An id of the service is named only after the reply that carried it was confirmed.

A client that moves its pointer when it sends, or takes the id of a local stand-in for an
error, names an id that the service never gave to this conversation, and is refused from
then on. Here the pointer is part of the commit; an id that has not the service's form is
never named; a pointer that the service refuses is left out:

- https://github.com/anthropics/claude-code/issues/59520
- https://github.com/anthropics/claude-code/issues/76008
- https://github.com/anthropics/claude-code/issues/96033
"""

import re

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import FaultKind, RetryPolicy

pytestmark = pytest.mark.anyio


def confirmed_ids(scenario: Scenario) -> list[str]:
    return [one.message_id for one in scenario.confirmed()]


async def test_a_failed_request_moves_no_pointer(scenario: Scenario) -> None:
    scenario.script(
        "One.",
        "Two, which breaks off.",
        "Two.",
        faults="429 retry-after=2 @2, html 502 @3, cut 4 reset @4",
    )
    async with scenario.open() as chat:
        await chat.send("1")
        await chat.stream("2").turn()
        first, second = confirmed_ids(scenario)
        assert scenario.previous_ids() == [None, *[first] * 4]
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=5)
    assert scenario.previous_ids()[5] == second


async def test_a_turn_that_failed_for_good_moves_no_pointer(scenario: Scenario) -> None:
    scenario.script("One.", faults="529 @2-3")
    async with scenario.open(retry=RetryPolicy(attempts_max=2)) as chat:
        await chat.send("1")
        await chat.send("2")
        await scenario.finish(chat, ended=FaultKind.TRANSIENT, effects={}, budget=3)
    (first, *_) = confirmed_ids(scenario)
    assert scenario.previous_ids()[:4] == [None, first, first, first]


async def test_an_id_of_another_form_is_never_named(scenario: Scenario) -> None:
    """A gateway, or a stand-in for an error, gives an id that the service never would."""

    def gateway(piece: bytes) -> bytes:
        return re.sub(rb"msg_\w+", b"3f1c1d2e-local-error", piece)

    scenario.script("One.", gateway=gateway)
    async with scenario.open() as chat:
        await chat.send("1")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=1)
    assert set(scenario.previous_ids()) == {None}


async def test_a_pointer_that_is_refused_is_left_out(scenario: Scenario) -> None:
    says = "diagnostics.previous_message_id: no such message"
    scenario.script(
        "One.",
        "Two.",
        faults=f'400 message="{says}" body="previous_message_id\\":\\"msg"',
    )
    async with scenario.open() as chat:
        await chat.send("1")
        turn = await chat.send("2")
        assert turn.text == "Two."
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=3)
    body = scenario.requests[2].body
    assert body is not None
    assert "previous_message_id" not in str(body.get("diagnostics"))
