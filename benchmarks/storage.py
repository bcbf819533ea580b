"""Bytes a turn writes: they must not depend on how long the history is."""

from pathlib import Path
from typing import final

import attrs

from benchmarks.engine import open_conversation, write_history
from benchmarks.material import Case, text
from benchmarks.plan import Plan
from benchmarks.references import make_client
from benchmarks.report import Report, Row, Target
from benchmarks.server import InstantServer
from turnlatch.journal import SQLiteStore

_IO = Path("/proc/self/io")


@final
@attrs.frozen
class Written:
    """What one turn wrote, on average over many.

    Attributes:
        kept: Bytes by which the store's files grew, once closed.
        sent: Bytes this process gave to the disk; None where the system cannot say.
    """

    kept: float
    sent: float | None


async def measure(plan: Plan, server: InstantServer, folder: Path) -> Report:
    """Count the bytes of a plain turn without a history and with a long one."""
    none = await _written(plan, server, folder, 0)
    long = await _written(plan, server, folder, plan.written_size)
    against = "at 0 messages"
    at = f"at {plan.written_size:,} messages"
    target = Target(1.1)
    rows = [
        Row(f"stored per turn {at}", "bytes", long.kept, none.kept, against, target)
    ]
    if long.sent is not None and none.sent is not None:
        rows.append(
            Row(
                f"written to disk per turn {at}",
                "bytes",
                long.sent,
                none.sent,
                against,
                target,
            )
        )
    return Report(rows)


async def _written(
    plan: Plan, server: InstantServer, folder: Path, size: int
) -> Written:
    path = folder / f"written-{size}.db"
    store = SQLiteStore(path)
    write_history(store, "written", size)
    store.close()
    before = _size(path)
    client = make_client(server.url(Case.PLAIN))
    async with open_conversation("written", path, client) as chat:
        (await chat.send(text(0))).raise_for_failure()  # opens the log
        sent_before = _sent()
        for number in range(1, plan.written_turns + 1):
            (await chat.send(text(number))).raise_for_failure()
        sent_after = _sent()
    await client.close()
    kept = (_size(path) - before) / (plan.written_turns + 1)
    if sent_before is None or sent_after is None:
        return Written(kept, None)
    return Written(kept, (sent_after - sent_before) / plan.written_turns)


def _size(path: Path) -> int:
    """Bytes of the store's files. It looks and opens nothing: opening a database by
    other means would take away the locks of those that use it."""
    return sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))


def _sent() -> int | None:
    """Bytes this process has caused to be written to disk."""
    try:
        lines = _IO.read_text().splitlines()
    except OSError:
        return None
    return int(dict(line.split(": ") for line in lines)["write_bytes"])
