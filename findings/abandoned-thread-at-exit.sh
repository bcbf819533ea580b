#!/usr/bin/env bash
# Subject:  anyio 4.16.0, `to_thread.run_sync(..., abandon_on_cancel=True)`, on asyncio and trio.
# Guess:    an abandoned thread is abandoned: the program ends without it. Whichever it is, it is
#           the same on both backends.
# Really:   `anyio.run` returns at once on both. On asyncio the process then stays until the
#           thread is done. On trio the process ends and the thread is dropped in the middle: its
#           `finally` never runs.
# Matters:  a blocking tool under a deadline. On one backend a stop signal or a deploy waits for
#           the slowest tool; on the other the tool's effect is half done and not cleaned up.
set -euo pipefail
. "$(dirname "$0")/_venv.sh" anyio==4.16.0 trio==0.35.0
cat >"$work/program.py" <<'PY'
import sys
import time

import anyio


def tool():
    try:
        time.sleep(2)
    finally:
        print("finally of the thread", flush=True)


async def main():
    with anyio.move_on_after(0.2):
        await anyio.to_thread.run_sync(tool, abandon_on_cancel=True)


anyio.run(main, backend=sys.argv[1])
print("run returned", flush=True)
PY
"$python" - "$work/program.py" <<'PY'
import importlib.metadata
import subprocess
import sys

print("anyio", importlib.metadata.version("anyio"), "trio", importlib.metadata.version("trio"))
lines = {}
for backend in ("asyncio", "trio"):
    done = subprocess.run(
        [sys.executable, sys.argv[1], backend], capture_output=True, text=True, timeout=60
    )
    lines[backend] = done.stdout.splitlines()
    print(f"{backend}: exit code {done.returncode}, printed {lines[backend]}")
held = lines == {
    "asyncio": ["run returned", "finally of the thread"],
    "trio": ["run returned"],
}
raise SystemExit(0 if held else "no longer so")
PY
