"""`turnlatch verify` says what was explored, and which journals conform."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.around import append_now
from tests.states.strategies import PROFILE

from turnlatch.cli.main import main
from turnlatch.cli.verify import EXIT_BROKEN
from turnlatch.journal import SQLiteStore
from turnlatch.testing import verify
from turnlatch.testing.verify import PROPERTIES, Parts, VerifyBounds, explored
from turnlatch_states.effects.effect import Apply, Conditions, Effect
from turnlatch_states.effects.next_effect import next_effect
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot

SAID = b'{"type":"text","text":"Go"}'


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["verify", *words])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a conversation that conforms, and one that cannot have happened."""
    path = tmp_path / "chat.db"
    stored = SQLiteStore(path)
    kinds: dict[str, tuple[Event, ...]] = {
        "good": (ev.TurnOpened(1, SAID), ev.RequestSent(1, 1)),
        "bad": (ev.TurnOpened(1, SAID), ev.RequestSent(1, 2)),
    }
    for name, events in kinds.items():
        journal = stored.open(name)
        append_now(journal, (ev.ConversationOpened(PROFILE), *events))
        journal.close()
    stored.close()
    return path


def test_figures_are_printed_and_written(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    done = run("--seconds", "0", "--json", str(path))

    assert done.exit_code == 0
    assert "Stopped before the end" in done.output
    found = json.loads(path.read_text())
    assert found["violation"] is None
    assert found["whole"] is False
    assert found["bounds"]["crashes"] == 1
    assert set(found["properties"]) == set(PROPERTIES)


def decides_for_ever(snapshot: Snapshot, given: Conditions) -> Effect:
    turn = snapshot.turn
    if turn is not None and turn.fault is not None:
        return Apply(())
    return next_effect(snapshot, given)


def test_a_broken_property_is_shown_with_its_trace_and_diagram() -> None:
    bounds = VerifyBounds(1, 0, 1, 0, 0, 0, 0)
    found = explored(bounds, Parts(next_effect=decides_for_ever))
    told = verify.report(found, plain=True)

    assert "broken: progress: " in told
    assert "The shortest way there has 4 moves:" in told
    assert "  4. the model declines" in told
    assert "transitions" in told
    assert all(len(line) <= 100 for line in told.splitlines())
    assert verify.as_json(found)["violation"]["property"] == "progress"


def test_each_conversation_of_a_store_is_held_to_the_tables(store: Path) -> None:
    done = run(str(store))

    assert done.exit_code == EXIT_BROKEN
    good, bad = done.output.splitlines()
    assert good == "good: conforms: 3 entries"
    assert bad.startswith("bad: does not conform: entry 3: illegal_event: ")


def test_one_conversation_of_a_store_is_held_to_the_tables(store: Path) -> None:
    done = run(str(store), "good")

    assert (done.exit_code, done.output) == (0, "good: conforms: 3 entries\n")


def test_a_store_that_is_open_is_read_without_its_lease(store: Path) -> None:
    held = SQLiteStore(store)
    journal = held.open("good")
    done = run(str(store), "good")
    append_now(journal, [ev.Steered(1, SAID)])  # its lease is as it was
    held.close()

    assert done.exit_code == 0


@pytest.mark.parametrize("kind", ["missing", "foreign", "damaged", "unknown"])
def test_a_store_that_cannot_be_read_gets_one_line(store: Path, kind: str) -> None:
    words = [str(store)]
    if kind == "missing":
        words = [str(store.parent / "none.db")]
    elif kind == "foreign":
        store.write_bytes(b"not a database" * 100)
    elif kind == "damaged":
        data = store.read_bytes()
        store.write_bytes(data.replace(b'"text":"Go"', b'"text":"No"'))
    else:
        words.append("nobody")
    done = run(*words)

    assert done.exit_code == 7
    assert done.output.splitlines()[-1].startswith("turnlatch: ")
    assert "Traceback" not in done.output


def test_options_of_the_exploration_are_refused_with_a_store(store: Path) -> None:
    done = run("--full", str(store))

    assert done.exit_code == 2
    assert "leave out STORE" in done.output
