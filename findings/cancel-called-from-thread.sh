#!/usr/bin/env bash
# Subject:  anyio 4.16.0 `CancelScope.cancel_called`, on asyncio and trio 0.35.0.
# Guess:    a flag. A worker thread may poll it to stop early, and there is no harm in reading.
# Really:   so on asyncio. On trio the read looks at the clock of the run while the scope is not
#           cancelled, and raises RuntimeError in a plain thread. Once the scope is cancelled it is
#           a flag again and says True.
# Matters:  a synchronous tool that asks whether its turn was cancelled, from its thread. It fails
#           exactly while the answer is no, so a test that only cancels never sees it.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" anyio==4.16.0 trio==0.35.0
"$python" - <<'PY'
import importlib.metadata
import threading

import anyio


def from_a_thread(scope):
    answers = []

    def ask():
        try:
            answers.append(scope.cancel_called)
        except RuntimeError as error:
            answers.append(f"RuntimeError: {error}")

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return answers[0]


async def main():
    with anyio.CancelScope() as scope:
        before = from_a_thread(scope)
        scope.cancel()
        return before, from_a_thread(scope)


print("anyio", importlib.metadata.version("anyio"), "trio", importlib.metadata.version("trio"))
found = {backend: anyio.run(main, backend=backend) for backend in ("asyncio", "trio")}
for backend, (before, after) in found.items():
    print(f"{backend}: not cancelled: {before!r}; cancelled: {after!r}")
held = (
    found["asyncio"] == (False, True)
    and str(found["trio"][0]).startswith("RuntimeError")
    and found["trio"][1] is True
)
raise SystemExit(0 if held else "no longer so")
PY
