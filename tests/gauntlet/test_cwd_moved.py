"""A conversation is known by its name in its store; where the store lies, and from where
it is opened, are no part of what it is.

Sessions that were filed under the path of their project were gone when the folder was
renamed, or could not be resumed from anywhere else:

- https://github.com/anthropics/claude-code/issues/81603
- https://github.com/anomalyco/opencode/issues/33909
- https://github.com/anthropics/claude-code/issues/86713
"""

from contextlib import suppress
from pathlib import Path

import pytest
from tests.harness.scenario import CONFIRMED, Scenario

from turnlatch import JournalError
from turnlatch.journal import SQLiteStore
from turnlatch.simulator import call

pytestmark = pytest.mark.anyio


async def test_a_renamed_folder_takes_its_conversations_along(
    scenario: Scenario,
) -> None:
    root = scenario.folder
    scenario.folder = root / "project"
    scenario.folder.mkdir()
    scenario.script("One.", call("act", what="a"), "Two.")
    async with scenario.open("talk") as chat:
        await chat.send("1")
        await chat.send("2")
        wires = chat.history.wires()
    scenario.folder = scenario.folder.rename(root / "another name")
    store = SQLiteStore(scenario.store)
    assert [one.name for one in store.conversations()] == ["talk"]
    store.close()
    async with scenario.open("talk") as chat:
        assert chat.history.wires() == wires
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)
    assert b"project" not in scenario.store.read_bytes()


async def test_from_wherever_it_is_opened_it_is_the_same(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario.script("One.", "Two.")
    monkeypatch.chdir(scenario.folder)
    async with scenario.open(store=Path("chat.db")) as chat:
        await chat.send("1")
    elsewhere = scenario.folder / "else" / "where"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    async with scenario.open(store="../../chat.db") as chat:
        await chat.send("2")
        await scenario.finish(chat, ended=CONFIRMED, effects={}, budget=2)


async def test_open_conversation_keeps_its_store_after_chdir(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the folder in which it was given, then and later: for a
    fork, and for a conversation that is entered again."""
    scenario.script("One.", "Two.", "Three.")
    monkeypatch.chdir(scenario.folder)
    elsewhere = scenario.folder / "elsewhere"
    elsewhere.mkdir()
    chat = scenario.open(store="chat.db")
    async with chat:
        await chat.send("1")
        monkeypatch.chdir(elsewhere)
        async with chat.fork("child") as child:
            assert len(child.history) == 1, "the fork lost its past"
            await child.send("2, in the child")
    async with chat:
        assert len(chat.history) == 1, "the conversation lost its past"
        await chat.send("2")
        assert list(elsewhere.iterdir()) == []
        await scenario.finish(
            chat, ended=CONFIRMED, effects={}, budget=3, history=[1, 3]
        )


async def test_a_folder_that_moves_under_an_open_conversation_stops_it_unharmed(
    scenario: Scenario,
) -> None:
    root = scenario.folder
    scenario.folder = root / "project"
    scenario.folder.mkdir()
    scenario.script("One.", call("act", what="a"), "Two.")
    chat = await scenario.open().__aenter__()
    await chat.send("1")
    scenario.folder = scenario.folder.rename(root / "moved")
    with pytest.raises(JournalError):
        await chat.send("2", key="2")
    assert len(scenario.requests) == 1, "what is not on record does not leave"
    with suppress(JournalError):
        await chat.close()
    async with scenario.open() as chat:
        await chat.send("2", key="2")
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=3)
