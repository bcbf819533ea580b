"""An account's trouble is not looked for in the history, whatever code it comes with."""

from collections.abc import Iterator, Mapping
from typing import Final

import pytest
from anthropic._error_classes import ERROR_CLASSES
from tests.harness.world import World

import turnlatch_states.api.error_codes
from turnlatch import FaultKind, TurnState
from turnlatch_states.api.error_codes import FAMILIES, Family
from turnlatch_states.api.faults import classify

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
]


def of_an_account() -> Iterator[str]:
    """Codes of the SDK that a plain 400 is met with, and some of tomorrow."""
    for status, code in ERROR_CLASSES:
        kind = classify(status, None, code, "said")
        if status == 400 and code and kind in (FaultKind.AUTH, FaultKind.BILLING):
            yield code
    for alike in FAMILIES:
        if alike.kind in (FaultKind.AUTH, FaultKind.BILLING):
            yield from (f"{start}_of_tomorrow" for start in alike.starts[-1:])
            yield from (f"linked_{word}_of_tomorrow" for word in alike.words[:1])
            yield from (f"frobnication_{end}" for end in alike.ends[:1])


CODES: Final = tuple(of_an_account())


CONFIRMED: Final = ("first", "One.", "second", "Two.")


async def left_out(world: World, code: str) -> bool:
    """Whether anything was tried without a part of the conversation, while an account
    was refused with this code, asked again and told something else."""
    world.script("One.", "Two.", faults=f"400 code={code} @3-99")
    async with world.open(tools=[]) as chat:
        for words in ("first", "second"):
            assert (await chat.send(words)).state is TurnState.CONFIRMED
        for words in ("third", "fourth", "fifth"):
            assert (await chat.send(words)).state is TurnState.FAILED
            assert (await chat.retry()).state is TurnState.FAILED
        assert chat.snapshot.view.ops == (), "nothing is left out for good"
    trials = [str(entry.body) for entry in world.simulator.log[2:]]
    assert len(trials) >= 6
    # Something short may be asked beside them, to learn whether anything is answered.
    whole = [all(words in trial for words in CONFIRMED) for trial in trials]
    return not all(
        one or "Say OK." in trial for one, trial in zip(whole, trials, strict=True)
    )


@pytest.mark.parametrize("code", CODES)
async def test_refused_account_waits_and_then_goes_on_with_everything(
    world: World, code: str
) -> None:
    assert not await left_out(world, code)

    world.script("Five.")
    async with world.open(tools=[]) as chat:
        assert len(chat.history) == 2
        turn = await chat.retry()
        assert turn.state is TurnState.CONFIRMED
        assert turn.fault is None
    (entry,) = world.simulator.log
    for words in (*CONFIRMED, "fifth"):
        assert words in str(entry.body)


async def test_without_families_a_part_is_looked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: a code that no table has is taken for a definite refusal."""
    none: tuple[Family, ...] = ()
    table: Mapping[str, FaultKind | None] = {}
    monkeypatch.setattr(turnlatch_states.api.error_codes, "FAMILIES", none)
    monkeypatch.setattr(turnlatch_states.api.error_codes, "BY_CODE", table)

    assert await left_out(world, "workspace_of_tomorrow")
