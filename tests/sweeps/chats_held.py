"""What must hold of a conversation whose process was broken off, and of the world.

What was acknowledged is in the record, byte for byte; a new process says the next thing
and has it confirmed; and each effect happened as often as the record says: once for a
result, never for what was not executed or denied, at most once for an unknown outcome.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
from tests.harness.world import World
from tests.sweeps.chats import NAME, STEERED, digest, opened

from turnlatch import Closing, TurnState
from turnlatch.journal import SQLiteStore
from turnlatch.ports import Entry
from turnlatch_states.machine.call import CallState
from turnlatch_states.machine.events import CallClosed, CallStarted, Steered
from turnlatch_states.machine.load import fold_events

ALLOWED: Final = {
    Closing.RESULT: (1,),
    Closing.UNKNOWN: (0, 1),
    Closing.NOT_EXECUTED: (0,),
    Closing.CUT_OFF: (0,),
    Closing.DENIED: (0,),
}
"""How often an effect may have happened, by how its call was closed."""


def check(store: Path, ledger: Path, lines: Sequence[str], *, retry: bool) -> int:
    """Ask everything, and go on.

    Args:
        store: What is left of the store.
        ledger: What the tools did.
        lines: What the process said.
        retry: Go on with the turn that stopped before anything else is said.

    Returns:
        How many effects there were in the end.
    """
    _compare(store, lines)
    before = _effects(ledger)
    anyio.run(_go_on, store, ledger, retry)
    entries = _entries(store)
    fold_events([entry.event for entry in entries])
    _check_said(entries)
    after = _effects(ledger)
    assert all(after[key] == count for key, count in before.items()), "done again"
    _check_effects(entries, after)
    return after.total()


def _entries(store: Path) -> Sequence[Entry]:
    opened = SQLiteStore(store)
    try:
        return opened.read(NAME) if opened.conversations() else ()
    finally:
        opened.close()


def _compare(store: Path, lines: Sequence[str]) -> None:
    """Everything that was acknowledged, and at most one append more, as a whole."""
    sure: list[str] = []
    doubt: list[str] = []
    for line in lines:
        word, *rest = line.split(" ")
        if word == "begin":
            doubt = rest
        elif word == "sure":
            sure, doubt = sure + doubt, []
        elif word == "refused":
            doubt = []
    found = [digest(entry.event) for entry in _entries(store)]
    assert found in (sure, sure + doubt), (
        f"{len(found)} entries, of {len(sure)} acknowledged and {len(doubt)} in doubt"
    )


def _effects(ledger: Path) -> Counter[str]:
    """What was done, by the key of the call."""
    if not ledger.exists():
        return Counter()
    return Counter(line.split(" ")[0] for line in ledger.read_text().splitlines())


def _check_effects(entries: Sequence[Entry], effects: Counter[str]) -> None:
    events = [entry.event for entry in entries]
    keys = {one.call: one.key for one in events if isinstance(one, CallStarted)}
    closed = {one.call: one for one in events if isinstance(one, CallClosed)}
    strange = effects.keys() - set(keys.values())
    assert not strange, f"done, and no record that it was begun: {strange}"
    for call, one in closed.items():
        if b"contents of" in one.result:
            continue  # it looked, and did nothing
        count = effects[keys[call]] if call in keys else 0
        allowed = ALLOWED[one.closing]
        assert count in allowed, f"{one.closing.value}, and done {count} times"
    assert keys.keys() <= closed.keys(), "a call was begun, and nobody closed it"


def _check_said(entries: Sequence[Entry]) -> None:
    """What was said while a turn was on stands in the history once, or never was."""
    events = [entry.event for entry in entries]
    history = b"".join(fold_events(events).history.wires()) if events else b""
    said = sum(isinstance(one, Steered) for one in events)
    assert history.count(STEERED.encode()) == said


async def _go_on(store: Path, ledger: Path, retry: bool) -> None:
    world = World().script("Carry on.", "Carry on.", "Carry on.")
    async with opened(world, store, str(ledger)) as chat:
        turn = chat.turn
        assert chat.check() == ()
        if retry and turn is not None and turn.state is TurnState.FAILED:
            await chat.retry()
        assert turn is None or all(
            one.state is not CallState.STARTED for one in turn.calls
        )
        after = await chat.send("And now?")
        assert after.state is TurnState.CONFIRMED, f"it is stuck: {after.fault}"
        wires = chat.history.wires()
        assert chat.snapshot.said == (), "what was said was not delivered"
    async with opened(world, store, str(ledger)) as chat:
        assert chat.history.wires() == wires, "a reload is another conversation"
    assert world.simulator.unscripted_rejections() == ()
