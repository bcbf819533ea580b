"""The tools that every agent of the comparison offers, and the ledger of what they did.

It needs the standard library alone: each agent runs in a separate environment. The lines of
the ledger are those of `turnlatch.testing.Effects`, as is the death that a run asks for.
"""

import json
import os
import signal
import sys
from pathlib import Path

MODEL = "claude-haiku-4-5"
SYSTEM = "You keep a shop."
ATTEMPTS = 5
"""How often each agent asks for the same reply, where its library has a number for that."""
READ_SECONDS = 5.0
"""How long each agent waits for the next byte, where its library has a number for that."""
MAX_TOKENS = 1024

FOLDER = Path(os.environ.get("TURNLATCH_FOLDER", "."))
"""Where the agent keeps its conversation from one process to the next."""
BASE_URL = os.environ.get("ANTHROPIC_BASE_URL", "")


def prompt() -> str:
    """The message to the agent."""
    return sys.stdin.read()


def _note(tool: str, given: dict[str, object], phase: str, text: str = "") -> None:
    entry = {
        "tool": tool,
        "input": json.dumps(given, sort_keys=True),
        "phase": phase,
        "text": text,
        "process": os.getpid(),
    }
    # One write with O_APPEND is whole, and stays when the process is killed after it.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    ledger = os.open(os.environ["TURNLATCH_EFFECTS"], flags, 0o600)
    os.write(ledger, json.dumps(entry).encode() + b"\n")
    os.close(ledger)
    if os.environ.get("TURNLATCH_EFFECTS_DEATH") == phase:
        os.killpg(os.getpgrp(), signal.SIGKILL)


def pay(amount: int) -> str:
    """Pay an amount."""
    _note("pay", {"amount": amount}, "begun")
    _note("pay", {"amount": amount}, "done")
    text = f"{amount} paid"
    _note("pay", {"amount": amount}, "seen", text)
    return text


def write_note(text: str) -> str:
    """Keep a note."""
    _note("write_note", {"text": text}, "begun")
    _note("write_note", {"text": text}, "done")
    _note("write_note", {"text": text}, "seen", "kept")
    return "kept"


def look_up(name: str) -> str:
    """Look an article up in the catalogue."""
    if name == "the lost page":
        raise LookupError("the page of the catalogue is lost")
    return "A fine article. " * (65_536 if name == "everything" else 1)
