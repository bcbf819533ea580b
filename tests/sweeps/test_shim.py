"""The shim itself: it sees what the kernel is asked to do, and a process is cheap."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sweeps.fork_server import ROOT, ForkServer
from tests.sweeps.shim import FOLDER, Kind, Mode, Plan
from tests.sweeps.sweep import Sweep
from tests.sweeps.work import lines_of

TRACED = "write,pwrite64,fsync,fdatasync,ftruncate,unlink,unlinkat"
ALONE = """
import sys
from tests.sweeps.fork_server import Order, alone

alone(Order(*sys.argv[1:]))
"""


def test_a_victim_of_the_journal_imports_no_sdk(fork_server: ForkServer) -> None:
    assert fork_server.loaded == []


def test_a_victim_that_is_left_alone_comes_to_its_end(sweep: Sweep) -> None:
    first, again = sweep.run(), sweep.run()

    assert not first.killed
    assert first.lines[-1] == "done"
    assert first.count == again.count == len(sweep.ops())


@pytest.mark.parametrize("kind", [one for one in Kind if one is not Kind.MARK])
def test_operation_in_the_plan_fails(sweep: Sweep, kind: Kind) -> None:
    """Else a sweep over errors would sweep over nothing. SQLite is told of all of them
    but does not mind them all."""
    seen = 0
    for at in sweep.points(4, kind):
        plan = Plan(Mode.FAIL, at, kind, errno.EIO, log=str(sweep.log))
        sweep.log.unlink(missing_ok=True)
        ended = sweep.run(plan)
        seen += any("rror" in line for line in ended.lines) or ended.count != len(
            sweep.ops()
        )
    assert seen


def traced(folder: Path, library: Path) -> list[str]:
    """What the kernel was asked to do with a store, by strace."""
    store, notes, out = (folder / one for one in ("chat.db", "notes", "trace"))
    done = subprocess.run(
        [
            *("strace", "-f", "-y", "-e", f"trace={TRACED}", "-o", str(out)),
            *("-E", f"LD_PRELOAD={library}", sys.executable, "-c", ALONE),
            *(str(store), str(notes)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"strace cannot trace here: {done.stderr[-200:]}")
    return [line for line in out.read_text().splitlines() if f"{store}" in line]


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
def test_the_shim_sees_what_strace_sees(
    sweep: Sweep, library: Path, folder: Path
) -> None:
    """All but the syncs, which an armed process does not pass on."""
    room = folder / "traced"
    room.mkdir()
    lines = traced(room, library)
    name = re.escape(str(room / "chat.db"))
    file = rf"\d+<{name}(-wal|-journal|-head)?>"
    writes = [one for one in lines if re.search(rf"p?write(64)?\({file},", one)]
    cuts = [one for one in lines if re.search(rf"ftruncate\({file},", one)]
    gone = [one for one in lines if re.search(rf'unlink.*"{name}(-wal|-journal)"', one)]

    counted = dict.fromkeys(Kind, 0)
    for op in sweep.ops():
        counted[op.kind] += op.file != FOLDER
    assert len(writes) == counted[Kind.WRITE]
    assert len(cuts) == counted[Kind.TRUNCATE]
    assert len(gone) == counted[Kind.UNLINK]
    assert not [one for one in lines if re.search(rf"sync\({file}\)", one)]
    said = list(lines_of((room / "notes").read_text()))
    assert said[-1] == f"count {len(sweep.ops())}"
    assert os.path.exists(room / "chat.db")
