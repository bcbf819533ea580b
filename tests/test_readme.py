"""The README keeps its promises: short, code at once, and everything in it runs."""

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import warm

if TYPE_CHECKING:
    from tests.harness.world import World

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS_MAX = 600
WORDS_BEFORE_CODE_MAX = 80


def test_readme_is_short_and_shows_code_at_once() -> None:
    before, _, _ = README.partition("```python")

    assert len(README.split()) <= WORDS_MAX
    assert len(before.split()) <= WORDS_BEFORE_CODE_MAX


def test_readme_program_runs_on_the_simulator_only_when_asked(
    tmp_path: Path,
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    asked = program.replace(
        "tools=[read_file]", 'tools=[read_file], client="simulator"'
    )
    (tmp_path / "README.md").write_text("An example.", encoding="utf-8")

    def run(text: str) -> "subprocess.CompletedProcess[bytes]":
        environment = {**os.environ, "HOME": str(tmp_path)}
        return warm.run(["-c", text], env=environment, cwd=tmp_path, timeout=60)

    alone, simulated = run(program), run(asked)

    assert (alone.returncode, alone.stdout) == (1, b"")
    last = alone.stderr.rstrip().splitlines()[-1]
    assert last.startswith(b"turnlatch.errors.NoCred")
    assert asked != program
    assert simulated.returncode == 0, simulated.stderr
    assert simulated.stdout.startswith(b"confirmed ")
    assert (tmp_path / "chat.db").exists()


@pytest.mark.anyio
async def test_test_shown_to_contributors_passes(world: "World") -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shown: dict[str, Any] = {}
    exec(compile(program, "CONTRIBUTING.md", "exec"), shown)

    (test,) = (found for name, found in shown.items() if name.startswith("test_"))
    await test(world)
    assert world.ran


def test_every_file_and_command_it_names_exists() -> None:
    from turnlatch.cli.main import main

    for link in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README):
        target = link[0] or link[1]
        assert (ROOT / target).exists(), target
    for path in re.findall(r"`((?:tests|states|engine)/[\w/.]+)`", README):
        assert (ROOT / path).exists(), path
    known = set(main.list_commands(None))  # type: ignore[arg-type] # the list needs no context
    for command in re.findall(r"`turnlatch (\w+)", README):
        assert command in known
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert target in targets


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs_offline(example: Path, tmp_path: Path) -> None:
    script = f"import runpy; runpy.run_path({str(example)!r}, run_name='__main__')"
    done = warm.run(["-c", script], cwd=tmp_path, timeout=60)

    assert (done.returncode, done.stderr) == (0, b"")
    shows = b"0 defects" if example.stem == "shop_agent" else b"confirmed"
    assert shows in done.stdout


def test_nothing_committed_names_a_machine_or_a_registry() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:  # an unpacked sdist has no git
        tracked.stdout = "README.md\nrequirements.txt"
    leak = re.compile(
        r"(?<![\w.])/(?:work|root|farm)/[a-z]|https?://[\w.-]*(?:pypi|npm|debian)[\w.-]*"
    )
    for name in tracked.stdout.split():
        path = ROOT / name
        if path.suffix in {
            ".py",
            ".sh",
            ".md",
            ".txt",
            ".toml",
            ".json",
            ".mmd",
            ".svg",
        }:
            assert not leak.search(path.read_text(encoding="utf-8")), name


def test_the_security_policy_is_linked_and_names_no_person() -> None:
    policy = (ROOT / "SECURITY.md").read_text()

    assert "(SECURITY.md)" in README
    assert "@" not in policy
    for part in ("## What is promised", "## What is not promised", "## Reporting"):
        assert part in policy
    assert "No isolation of tenants" in policy
