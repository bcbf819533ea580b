"""Makes the golden files of the current format: what a released turnlatch left on a disk.

    python -m tests.engine.journal.golden_store rows     # golden/v<FORMAT>.json
    python -m tests.engine.journal.golden_store store    # golden/v<FORMAT>.db, its -head

Until a format is released its files are made again whenever a kind or a field joins it.
After that they never change: later versions have to read those very files.
"""

import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Final

import anyio
from tests.around import append_now
from tests.harness.world import World

from turnlatch.journal import SQLiteStore
from turnlatch.journal.codec import FORMAT
from turnlatch.journal.owner import Owner
from turnlatch.simulator import call
from turnlatch_states.machine.events import Event, RequestSent, TurnOpened

GOLDEN: Final = Path(__file__).with_name("golden")

DEAD: Final = Owner("far", 4242, "123456", "a boot that is over")
"""Who died holding the lease of `left`."""

NOW: Final = 1_795_000_000.0
"""When everything in it was appended, seconds since the epoch."""


async def _talk(folder: Path, store: SQLiteStore) -> None:
    """Real turns: a call that had its effect, a fork, a question nobody answered."""
    world = World(folder).script(
        "One.", call("act", what="a"), "Two.", "Branched.", call("ask", what="b")
    )
    async with world.open("talk", store=store) as chat:
        await chat.send("1")
        await chat.send("2")
        async with chat.fork("branch") as branch:
            await branch.send("3 of the branch")
        await chat.send("3")


def every_kind() -> list[Event]:
    """At least one event of every kind, as `test_codec` holds them."""
    from tests.engine.journal.test_codec import samples  # pytest rewrites that one

    return list(samples().values())


def make(folder: Path) -> Path:
    """A store in that folder, as a killed process leaves it, its log written back."""
    path = folder / "chat.db"
    store = SQLiteStore(path, clock=lambda: NOW, owner=DEAD)
    anyio.run(_talk, folder, store)
    journal = store.open("every kind")
    append_now(journal, every_kind())
    journal.close()
    store.fork("every kind", "fork of every kind", 3)
    fork = store.open("fork of every kind")
    append_now(fork, [RequestSent(3, 1)])
    fork.close()
    left = store.open("left")
    append_now(
        left, [TurnOpened(1, b'{"type":"text","text":"hello"}'), RequestSent(1, 1)]
    )
    killed = folder / "killed"
    killed.mkdir()
    for name in ("chat.db", "chat.db-wal", "chat.db-head"):
        shutil.copy(folder / name, killed / name)
    store.close()
    # What the next process would do first, without turnlatch: write the log back.
    connection = sqlite3.connect(killed / "chat.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("VACUUM")
    connection.close()
    return killed / "chat.db"


def _main(what: str) -> None:
    if what == "rows":
        from tests.engine.journal.test_codec import as_golden

        rows = json.dumps(as_golden(), indent=1)
        (GOLDEN / f"v{FORMAT}.json").write_text(rows + "\n", "ascii")
        return
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        for suffix in ("", "-head"):
            target = GOLDEN / f"v{FORMAT}.db{suffix}"
            shutil.copy(f"{made}{suffix}", target)


if __name__ == "__main__":
    _main(sys.argv[1])
