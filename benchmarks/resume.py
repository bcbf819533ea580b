"""Resuming a long conversation in a fresh process, until its next request is built.

The parent writes the conversation; a child of its own opens it, with every import done
and the SDK's client made before the clock starts.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from statistics import median

from benchmarks.engine import next_request, open_conversation, write_history
from benchmarks.material import history, text
from benchmarks.plan import Plan
from benchmarks.references import make_client
from benchmarks.report import Report, Row, Target
from benchmarks.server import ROOT
from turnlatch.content import user_blocks
from turnlatch.journal import SQLiteStore
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.step import step

_NAME = "resumed"


def measure(plan: Plan, folder: Path) -> Report:
    """Resume a conversation in several fresh processes."""
    path = folder / "resume.db"
    store = SQLiteStore(path)
    write_history(store, _NAME, plan.resume_size)
    store.close()
    listed = folder / "resume.json"
    listed.write_text(json.dumps(history(plan.resume_size)))
    ours: list[float] = []
    reference: list[float] = []
    for _ in range(plan.resume_rounds):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.resume", str(path), str(listed)],
            capture_output=True,
            check=True,
            cwd=ROOT,
        )
        one, other = json.loads(done.stdout)
        ours.append(one)
        reference.append(other)
    row = Row(
        f"resume {plan.resume_size:,} messages, ready to send",
        "ms",
        median(ours),
        median(reference),
        "a list in a JSON file, not checked",
        Target(50.0, "value at most"),
    )
    return Report((row,))


async def _resume(path: Path) -> float:
    import_module("turnlatch.sdk")  # opening imports it, and imports are not counted
    client = make_client("http://127.0.0.1:9")
    gc.collect()  # what the imports left over is theirs, wherever it would be swept up
    began = time.perf_counter()
    chat = open_conversation(_NAME, path, client)
    async with chat:
        blocks = user_blocks(text(0), chat.profile)
        opened = ev.TurnOpened(chat.snapshot.turns + 1, blocks)
        next_request(step(chat.snapshot, opened).snapshot)
        return (time.perf_counter() - began) * 1e3


def _load_list(path: Path) -> float:
    began = time.perf_counter()
    messages = json.loads(path.read_bytes())
    messages.append({"role": "user", "content": text(0)})
    json.dumps(messages).encode()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    print(
        json.dumps(
            [asyncio.run(_resume(Path(sys.argv[1]))), _load_list(Path(sys.argv[2]))]
        )
    )
