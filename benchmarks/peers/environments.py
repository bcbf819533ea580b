"""An environment for each agent of the comparison, with the packages that it pins."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, final

import attrs

FOLDER: Final = Path(__file__).parent
AGENTS: Final = FOLDER / "agents"


@final
@attrs.frozen
class Peer:
    """An agent of the comparison.

    Attributes:
        name: The folder of its program and of its pinned packages.
        title: Its column.
        shown: The packages whose versions are shown.
    """

    name: str
    title: str
    shown: tuple[str, ...]

    @property
    def program(self) -> Path:
        """The agent."""
        return AGENTS / self.name / "agent.py"

    @property
    def requirements(self) -> Path:
        """The packages of its environment."""
        return AGENTS / self.name / "requirements.txt"

    @property
    def versions(self) -> dict[str, str]:
        """The versions that are shown, by package."""
        if not self.requirements.exists():
            return {}
        pins = re.findall(
            r"^([\w.-]+)==(\S+)$", self.requirements.read_text(), re.MULTILINE
        )
        found = dict(pins)
        return {one: found[one] for one in self.shown}


PEERS: Final = (
    Peer("turnlatch", "turnlatch", ()),
    Peer("anthropic_sdk", "SDK tool runner", ("anthropic",)),
    Peer("pydantic_ai", "pydantic-ai", ("pydantic-ai-slim", "anthropic")),
    Peer("pydantic_ai_dbos", "pydantic-ai on DBOS", ("pydantic-ai-slim", "dbos")),
    Peer(
        "langgraph",
        "LangGraph",
        (
            "langgraph",
            "langchain",
            "langchain-anthropic",
            "langgraph-checkpoint-sqlite",
        ),
    ),
    Peer("noeta", "noeta-sdk", ("noeta-sdk",)),
)
"""Every agent, in the order of its column. turnlatch is that of this checkout."""


def python_of(peer: Peer, cache: Path) -> str:
    """The interpreter of an agent's environment, which is made if it is not there.

    Args:
        peer: The agent.
        cache: The folder of all environments.

    Raises:
        CalledProcessError: It cannot be made; pip has said why.
    """
    if not peer.requirements.exists():
        return sys.executable
    pinned = peer.requirements.read_bytes()
    mark = hashlib.sha256(pinned).hexdigest()
    place = cache / peer.name
    python, done = place / "bin" / "python", place / "pinned"
    if not (done.exists() and done.read_text() == mark):
        shutil.rmtree(place, ignore_errors=True)
        pip = (str(python), "-m", "pip", "install", "--quiet", "--no-deps")
        # `--no-deps`: what is not pinned is not installed.
        for command in (
            (sys.executable, "-m", "venv", str(place)),
            (*pip, "--disable-pip-version-check", "-r", str(peer.requirements)),
            (str(python), "-m", "pip", "--disable-pip-version-check", "check"),
        ):
            subprocess.run(command, check=True)
        done.write_text(mark)
    return str(python)
