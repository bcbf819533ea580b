"""What a request comes to, with the oldest and with the newest SDK that is allowed.

`python -m tests.sdks` makes a temporary environment for each, installs turnlatch and what
its tests need, and runs the tests of outcomes in it: those that put the real SDK in front
of a server and look at what becomes of its answers. The oldest stands beside the pinned
versions of everything else, the newest beside the newest of everything it needs, as
somebody gets it who installs today.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final, final

import attrs
import click

ROOT: Final = Path(__file__).parents[1]
OUTCOMES: Final = (
    "tests/states/test_faults.py",
    "tests/engine/model",
    "tests/engine/test_error_codes.py",
    "tests/engine/test_conversation.py",
    "tests/engine/test_recovering.py",
    "tests/engine/test_streams.py",
)


@final
@attrs.frozen
class Trial:
    """One SDK to try.

    Attributes:
        name: What it is called.
        requirement: What pip is asked for.
        pinned: Lines of constraints for everything else.
    """

    name: str
    requirement: str
    pinned: tuple[str, ...]


def allowed() -> str:
    """The requirement of the SDK in `pyproject.toml`."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (found,) = [
        one for one in declared["dependencies"] if one.startswith("anthropic>=")
    ]
    return str(found)


def pinned() -> tuple[str, ...]:
    """What `make` installs, as lines of constraints: without the hashes."""
    found = re.findall(
        r"^([\w.-]+==[^\\\n]+?) *\\?$",
        (ROOT / "requirements.txt").read_text(),
        re.MULTILINE,
    )
    return tuple(found)


def trials() -> tuple[Trial, Trial]:
    """The oldest and the newest SDK that are allowed."""
    pins = pinned()
    rest = tuple(one for one in pins if not one.startswith("anthropic=="))
    tools = tuple(
        one for one in pins if re.match(r"(pytest|pytest-xdist|hypothesis|trio)==", one)
    )
    oldest = allowed().replace(">=", "==")
    return Trial("oldest", oldest, rest), Trial("newest", allowed(), tools)


def run(trial: Trial, paths: tuple[str, ...]) -> int:
    """Run the tests with one SDK; the exit code of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        bin_ = Path(folder) / "venv" / "bin"
        pins = Path(folder) / "pins.txt"
        pins.write_text("\n".join(trial.pinned))
        python = str(bin_ / "python")
        pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
        wanted = (trial.requirement, "--editable", str(ROOT), "--group", "tests")
        for command in (
            (sys.executable, "-m", "venv", str(bin_.parent)),
            (*pip, "install", "--upgrade", "pip>=25.1"),
            (*pip, "install", "--upgrade", "--constraint", str(pins), *wanted),
        ):
            subprocess.run(command, cwd=ROOT, check=True)
        version = subprocess.run(
            (python, "-c", "import anthropic; print(anthropic.__version__)"),
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        click.echo(f"{trial.name}: anthropic {version}")
        told = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths)
        return subprocess.run(told, cwd=ROOT, check=False).returncode


@click.command()
@click.argument("paths", nargs=-1)
def main(paths: tuple[str, ...]) -> None:
    """Run the tests of outcomes, or those in PATHS, with both; 1 if one is red."""
    codes = [run(trial, paths or OUTCOMES) for trial in trials()]
    sys.exit(int(any(codes)))


if __name__ == "__main__":
    main()
