"""Settings of one turn: recorded with it, and over with it."""

from typing import Any

import attrs
import pytest
from tests.harness.world import World

from turnlatch import SettingsError, TurnState
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.step import begin, step
from turnlatch_states.request.profile import Profile

pytestmark = pytest.mark.anyio

OWN: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 77,
    "system": "Be brief.",
    "settings": {"metadata": {"user_id": "u"}},
}


def sent(body: dict[str, Any]) -> dict[str, Any]:
    """The settings of a request."""
    shown = {name: body[name] for name in ("model", "max_tokens")}
    system = body.get("system")
    if system is not None:
        shown["system"] = system if isinstance(system, str) else system[0]["text"]
    if "metadata" in body:
        shown["settings"] = {"metadata": body["metadata"]}
    return shown


async def test_one_turn_has_its_settings_and_the_next_the_usual_ones(
    world: World,
) -> None:
    async with world.open() as chat:
        usual = chat.profile
        await chat.send("One", **OWN)
        assert chat.profile == usual, "those of the conversation"
        await chat.send("Two")

    assert sent(world.bodies[0]) == OWN
    assert sent(world.bodies[1]) == {"model": usual.model, "max_tokens": 4096}


async def test_settings_of_a_turn_outlive_a_restart_in_the_middle_of_it(
    world: World,
) -> None:
    world.script("Words.", faults="401 @1")
    async with world.open() as chat:
        failed = await chat.send("One", **OWN)
        assert failed.state is TurnState.FAILED
    async with world.open() as chat:
        turn = await chat.retry()
        assert turn.text == "Words."
        await chat.send("Two")

    assert sent(world.bodies[1]) == OWN
    assert world.bodies[2]["model"] != OWN["model"]


async def test_setting_that_is_configured_during_a_turn_holds_for_it_too(
    world: World,
) -> None:
    world.script("Words.", faults="401 @1")
    async with world.open() as chat:
        await chat.send("One", model="claude-haiku-4-5", max_tokens=77)
        await chat.configure(model="claude-opus-5-5")
        await chat.retry()
        assert chat.profile.model == "claude-opus-5-5"
        await chat.send("Two")

    sizes = [(body["model"], body["max_tokens"]) for body in world.bodies]
    assert sizes[1:] == [("claude-opus-5-5", 77), ("claude-opus-5-5", 4096)]


async def test_turn_keeps_its_settings_where_the_conversation_is_opened_with_others(
    world: World,
) -> None:
    world.script("Words.", faults="401 @1")
    async with world.open(system="Usual.") as chat:
        await chat.send("One", model="claude-haiku-4-5", max_tokens=77)
    async with world.open(system="Other.") as chat:
        await chat.retry()
        await chat.send("Two")

    retried, following = (sent(body) for body in world.bodies[1:])
    assert retried == {
        "model": "claude-haiku-4-5",
        "max_tokens": 77,
        "system": "Other.",
    }
    assert following["max_tokens"] == 4096
    assert following["system"] == "Other."


def test_change_of_the_usual_settings_reaches_a_turn_only_where_they_differ() -> None:
    """What a source of tools does when its list changes during a turn."""
    usual = Profile("m", 10, (("system", b'"S"'), ("tools", b"[1]")))
    own = Profile("other", 5, (("system", b'"T"'), ("tools", b"[1]"), ("x", b"1")))
    snapshot = begin(ev.ConversationOpened(usual))
    new = attrs.evolve(usual, settings=(("system", b'"S"'), ("tools", b"[2]")))
    for event in (
        ev.TurnOpened(1, b'{"type":"text","text":"a"}', profile=own),
        ev.ProfileChanged(new),
    ):
        snapshot = step(snapshot, event).snapshot

    assert snapshot.lasting == new
    kept = (("system", b'"T"'), ("tools", b"[2]"), ("x", b"1"))
    assert snapshot.profile == Profile("other", 5, kept)


async def test_none_takes_a_setting_away_for_one_turn(world: World) -> None:
    async with world.open(settings={"metadata": {"user_id": "u"}}) as chat:
        await chat.send("One", settings={"metadata": None})
        await chat.send("Two")

    assert "metadata" not in world.bodies[0]
    assert world.bodies[1]["metadata"] == {"user_id": "u"}


async def test_conversation_opened_as_before_keeps_the_settings_of_a_failed_turn(
    world: World,
) -> None:
    world.script("Words.", faults="401 @1")
    async with world.open(max_tokens=100) as chat:
        await chat.send("One", max_tokens=50)
    async with world.open(max_tokens=100) as chat:
        assert (await chat.retry()).text == "Words."

    assert [body["max_tokens"] for body in world.bodies] == [50, 50]


@pytest.mark.parametrize(
    ("own", "named"),
    [
        ({"max_tokens": -1}, "max_tokens"),
        ({"model": 3}, "model"),
        ({"tools": []}, "tools"),
        ({"nonsense": 1}, "nonsense"),
        ({"settings": {"nonsense": 1}}, "nonsense"),
        ({"settings": {"model": "m"}}, "model"),
    ],
    ids=repr,
)
async def test_wrong_setting_is_refused_and_opens_no_turn(
    world: World, own: dict[str, Any], named: str
) -> None:
    async with world.open() as chat:
        with pytest.raises(SettingsError, match=named):
            await chat.send("One", **own)
        assert chat.turn is None
        assert (await chat.send("Two")).done
    assert len(world.bodies) == 1


async def test_cost_of_a_turn_is_that_of_its_model(world: World) -> None:
    async with world.open() as chat:
        cheap = await chat.send("One", model="claude-haiku-4-5")
        dear = await chat.send("One")
        assert cheap.cost is not None
        assert dear.cost is not None

    assert 0 < cheap.cost < dear.cost
