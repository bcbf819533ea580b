"""The main job: six faults thrown at one conversation, over real sockets and processes."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_demo_holds_every_claim_it_makes_in_any_folder(tmp_path: Path) -> None:
    """Also where nothing can be written, and what lies there is named as we are."""
    for name in (
        "turnlatch",
        "turnlatch.py",
        "turnlatch_states.py",
        "anyio.py",
        "README.md",
    ):
        (tmp_path / name).write_text("raise SystemExit('not this one')")
    tmp_path.chmod(0o500)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "turnlatch", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    out = done.stdout
    assert out.count("✓ │") == 7
    assert "✕ │" not in out
    assert "every later request was accepted" in out
    assert "429 rate_limit_error" in out
    assert "529 overloaded_error" in out
    assert re.search(r"SIGKILL: process \d+ is gone", out)
    assert "append_line is closed: outcome unknown" in out
    assert out.count("≡ compacting ─fail→ ✕ failed") >= 2


def test_a_folder_without_a_project_is_refused_with_a_hint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "turnlatch", "demo", "--files", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "has no README.md, pyproject.toml, LICENSE" in done.stderr
