"""After any outage everything is said again: a part of `tests.gauntlet.outages`."""

from typing import Any, cast

import anyio
import pytest
from tests.gauntlet.outages import KINDS, Outcome, had, outages

from turnlatch_states.api.faults import FaultKind
from turnlatch_states.machine.doubt import RULES, SuspicionRule

EACH = 5
"""Conversations of each kind; `make fuzz` has two thousand."""

MORE = 120
"""How many of the likeliest kind are had to see what is planted."""


def of(kind: str, count: int) -> list[Outcome]:
    """So many conversations of a kind."""

    async def run() -> list[Outcome]:
        return [await had(kind, seed) for _, seed in outages([kind], 0, count)]

    return anyio.run(run)


async def first_broken(kind: str) -> Outcome | None:
    """The first of `MORE` conversations that lost something."""
    for _, seed in outages([kind], 0, MORE):
        made = await had(kind, seed)
        if made.broken is not None:
            return made
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_missing_in_the_calm_after_an_outage(kind: str) -> None:
    assert [one for one in of(kind, EACH) if one.broken] == []


def test_the_check_sees_an_engine_that_believes_a_single_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: one alternation starts a search, and what it finds lasts at once."""
    rules = cast("dict[FaultKind, Any]", RULES)
    monkeypatch.setitem(rules, FaultKind.TRANSIENT, SuspicionRule(4, 1, 1, 1))

    assert anyio.run(first_broken, "62% of one"), "it has forgotten nothing"
