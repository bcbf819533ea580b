"""The ledger of effects: done and seen are kept apart, across processes and kills."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from turnlatch import SettingsError
from turnlatch.testing import EffectError, EffectFault, Effects, EffectsError


def wallet(effects: Effects) -> tuple[list[int], object]:
    """What was really paid, and the watched tool."""
    paid: list[int] = []

    @effects.watched
    def pay(amount: int, note: str = "") -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}{note}"

    return paid, pay


@pytest.mark.parametrize(
    ("fault", "done", "seen"),
    [
        ("error before", 0, EffectError),
        ("error after", 1, EffectError),
        ("timeout after", 1, TimeoutError),
        ("stale", 1, "paid 1"),
        ("twice", 2, "paid 2"),
    ],
)
def test_done_effects_and_seen_effects_are_different(
    fault: str, done: int, seen: type[Exception] | str
) -> None:
    effects = Effects()
    paid, pay = wallet(effects)
    assert callable(pay)
    assert pay(1) == "paid 1"
    effects.fail("pay", fault)
    if isinstance(seen, str):
        assert pay(2) == seen
    else:
        with pytest.raises(seen):
            pay(2)
    assert paid == [1] + [2] * done
    assert effects.done("pay", amount=2) == done
    effects.once("pay", amount=1)


def test_every_fault_is_tried_above() -> None:
    (mark,) = test_done_effects_and_seen_effects_are_different.pytestmark  # type: ignore[attr-defined] # pytest puts it there
    assert [one[0] for one in mark.args[1]] == [str(one) for one in EffectFault]


def test_claim_that_fails_lists_the_ledger() -> None:
    effects = Effects()
    _, pay = wallet(effects)
    assert callable(pay)
    pay(3)
    pay(3, note="!")
    effects.once("pay", note="!")
    with pytest.raises(EffectsError, match="was done 2 times") as told:
        effects.at_most_once("pay", amount=3)
    assert '"amount": 3' in str(told.value)
    with pytest.raises(EffectsError, match="was done 0 times"):
        effects.once("pay", amount=4)


@pytest.mark.anyio
async def test_async_tools_are_watched_too() -> None:
    effects = Effects()

    @effects.watched
    async def send(to: str) -> str:
        """Send."""
        return f"sent to {to}"

    assert await send("a") == "sent to a"
    effects.once("send", to="a")
    assert send.__doc__ == "Send."


def test_unknown_tool_and_unknown_fault_are_refused_with_what_there_is() -> None:
    effects = Effects()
    wallet(effects)
    with pytest.raises(SettingsError, match="pay"):
        effects.fail("buy", "error after")
    with pytest.raises(SettingsError, match="timeout after"):
        effects.fail("pay", "explode")


def test_ledger_of_a_killed_process_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "effects"
    program = """
import os, signal, sys
from turnlatch.testing import Effects
@Effects.from_environment().watched
def pay(amount):
    os.kill(os.getpid(), signal.SIGKILL) if amount == 2 else None
pay(1)
pay(2)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env={"TURNLATCH_EFFECTS": str(file)},
    )
    assert done.returncode == -signal.SIGKILL
    phases = [(one.arguments["amount"], one.phase) for one in Effects(file).ledger]
    assert phases == [(1, "begun"), (1, "done"), (1, "seen"), (2, "begun")]
