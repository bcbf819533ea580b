"""What a live conversation holds in memory, beside the bytes of its messages.

Counted twice, each in a fresh process: as growth of the resident set, which includes
what the allocator and SQLite keep, and as what Python itself allocated.
"""

import asyncio
import gc
import json
import subprocess
import sys
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal, get_args

from benchmarks.engine import open_conversation, write_history
from benchmarks.plan import Plan
from benchmarks.references import make_client
from benchmarks.report import Report, Row, Target
from benchmarks.server import ROOT
from turnlatch.journal import SQLiteStore

Meter = Literal["resident", "traced"]

_TITLES: dict[Meter, str] = {
    "resident": "resident set",
    "traced": "Python's own",
}


def measure(plan: Plan, folder: Path) -> Report:
    """Hold many conversations in a fresh process, and weigh them."""
    path = folder / "memory.db"
    store = SQLiteStore(path)
    for number in range(plan.memory_count + 1):
        write_history(store, str(number), plan.memory_size)
    store.close()
    rows: list[Row] = []
    for meter in get_args(Meter):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.memory",
                str(path),
                str(plan.memory_count),
                meter,
            ],
            capture_output=True,
            check=True,
            cwd=ROOT,
        )
        held, own = json.loads(done.stdout)
        rows.append(
            Row(
                f"memory of {plan.memory_size:,} messages, {_TITLES[meter]}",
                "MB",
                held / 1e6,
                own / 1e6,
                "its messages, encoded",
                Target(2.0),
            )
        )
    return Report(rows)


async def _weigh(path: Path, count: int, meter: Meter) -> tuple[float, float]:
    """Bytes held for each conversation, and bytes of its messages."""
    client = make_client("http://127.0.0.1:9")
    store = SQLiteStore(path)
    own = 0
    async with AsyncExitStack() as held:
        # The first one also brings in what is there once, however many follow.
        await held.enter_async_context(open_conversation("0", store, client))
        before = _used(meter)
        for number in range(1, count + 1):
            chat = open_conversation(str(number), store, client)
            await held.enter_async_context(chat)
            own += sum(map(len, chat.history.wires()))
        after = _used(meter)
    store.close()
    return (after - before) / count, own / count


def _used(meter: Meter) -> int:
    gc.collect()
    if meter == "traced":
        return tracemalloc.get_traced_memory()[0]
    lines = Path("/proc/self/status").read_text().splitlines()
    (resident,) = (line for line in lines if line.startswith("VmRSS:"))
    return int(resident.split()[1]) * 1024


def _main(path: str, count: str, meter: str) -> None:
    for one in get_args(Meter):
        if one == meter:
            if meter == "traced":
                tracemalloc.start()
            print(json.dumps(asyncio.run(_weigh(Path(path), int(count), one))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
