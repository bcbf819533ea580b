"""One cell of the comparison: a row, played on an agent, and judged from outside."""

import json
from collections.abc import Mapping
from typing import Final, final

import attrs

from benchmarks.peers.rows import PeerRow
from turnlatch.testing.break_script import read_break_script
from turnlatch.testing.breaking import BreakSetup, PlayedScript, play
from turnlatch.testing.command_agent import AgentCommand

SECONDS_MAX: Final = 90.0
"""Longest time for one message."""

OK: Final = "ok"
NOT_MET: Final = "not met"
"""The fault did not happen, so the cell says nothing."""
TEXT_LOST: Final = "text_lost"
"""A message that was answered whole, by a process that ended well, is not in the history of
the last request."""


@final
@attrs.frozen
class Cell:
    """How an agent came out of a row.

    Attributes:
        found: `ok`, `not met`, or the names of the defects, sorted.
        text: The defects as sentences.
    """

    found: tuple[str, ...]
    text: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(self.found)


def cell(
    row: PeerRow, command: tuple[str, ...], environment: Mapping[str, str]
) -> Cell:
    """Play a row on an agent that is a command.

    Args:
        row: The row.
        command: The agent.
        environment: What it finds in its environment, in addition to that of this process.

    Raises:
        SettingsError: The command cannot be started.
    """
    given = ("env", *(f"{name}={value}" for name, value in environment.items()))
    agent = AgentCommand((*given, *command), SECONDS_MAX)
    setup = BreakSetup(agent, row.calls, to_the_end=True)
    return judged(play(setup, read_break_script(row.script)))


def judged(played: PlayedScript) -> Cell:
    """The cell of a row that was played."""
    if any(message.unmet for message in played.messages[1:2]):
        return Cell((NOT_MET,))
    found = set(played.findings)
    text = [f"{one.kind}: {one.text}" for one in played.verdict.defects]
    if "stuck" in found:
        text.append(f"stuck: {_why(played)}")
    elif lost := lost_texts(played):
        found.add(TEXT_LOST)
        text += [f"{TEXT_LOST}: the last request does not hold {one!r}" for one in lost]
    return Cell(tuple(sorted(found)) or (OK,), tuple(text))


def lost_texts(played: PlayedScript) -> tuple[str, ...]:
    """The inputs and replies that were confirmed, and that the last request does not hold.

    Confirmed is a message whose last request was answered whole, and whose process ended
    with 0: what a user has seen.
    """
    *before, last = played.messages
    if not (last.requests and last.requests[-1].body):
        return ()
    history = json.dumps(last.requests[-1].body["messages"])
    confirmed = [one for one in before if one.ended_well and one.answer]
    texts = [text for one in confirmed for text in (one.prompt, one.answer)]
    return tuple(one for one in texts if json.dumps(one)[1:-1] not in history)


def _why(played: PlayedScript) -> str:
    after = played.messages[-1].requests
    if after and (error := after[-1].error) is not None:
        return f"the last request was refused: {error.message}"
    return f"no request came; the process {played.ended}"
