#!/usr/bin/env bash
# Subject:  anyio 4.16.0 `TaskGroup.start_soon`, on asyncio and trio 0.35.0.
# Guess:    tasks begin in the order they were started, up to their first await.
# Really:   so on asyncio. On trio a coin is thrown for each batch, and the whole batch runs
#           forwards or backwards: two orders out of the many possible, each about half the time.
# Matters:  parallel tool calls of one reply. Steps that need the order of the reply (asking
#           for approval, taking a lock, writing the record) get it in every run on asyncio and in
#           every second run on trio. A test that sees both orders has not seen all of them.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" anyio==4.16.0 trio==0.35.0
"$python" - <<'PY'
import collections
import importlib.metadata

import anyio


async def batches(orders):
    for _ in range(60):
        begun = []

        async def call(number, begun=begun):
            begun.append(number)

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(call, number)
        orders[tuple(begun)] += 1


print("anyio", importlib.metadata.version("anyio"), "trio", importlib.metadata.version("trio"))
seen = {}
for backend in ("asyncio", "trio"):
    seen[backend] = collections.Counter()
    anyio.run(batches, seen[backend], backend=backend)
    print(f"{backend}: orders of 60 batches: {dict(seen[backend])}")
forwards, backwards = (0, 1, 2, 3), (3, 2, 1, 0)
held = set(seen["asyncio"]) == {forwards} and set(seen["trio"]) == {forwards, backwards}
raise SystemExit(0 if held else "no longer so")
PY
