"""The report of a failing run, for a CI log of 100 columns."""

import json
import textwrap
from collections.abc import Sequence
from typing import Final

from turnlatch.simulator import LoggedRequest
from turnlatch.testing.verdict import Verdict

COLUMNS: Final = 100
_REQUESTS_MAX: Final = 20


def failing_run(
    moves: Sequence[str],
    verdict: Verdict,
    requests: Sequence[LoggedRequest],
    picture: str,
    replay: str,
    *,
    stuck: bool = False,
    hung: bool = False,
) -> str:
    """The moves in words, the defects, a picture, the requests, and the line that plays it
    again.

    Args:
        moves: The moves that were made, in words.
        verdict: The judgement.
        requests: The log of the server.
        picture: What happened, in lines of at most 100 columns.
        replay: The line that plays the run again.
        stuck: The last message was not answered although nothing misbehaved.
        hung: The agent's process did not end although nothing misbehaved.
    """
    lines = ["The agent broke its conversation. The moves:"]
    lines += [f"  {place}. {words}" for place, words in enumerate(moves, 1)]
    if stuck:
        lines.append("stuck: nothing misbehaves, and the last message is not answered.")
    if stuck and not requests:
        lines.append("The agent sent no request: give it world.api.sync_client().")
    if hung:
        lines.append("hung: nothing misbehaves, and the process does not end.")
    lines += str(verdict).splitlines()
    lines += picture.splitlines()
    lines.append("The requests:")
    shown = requests[-_REQUESTS_MAX:]
    if len(requests) > len(shown):
        lines.append(f"  ({len(requests) - len(shown)} before these)")
    lines += [f"  {one.line}" for one in shown]
    named = {number for one in verdict.defects for number in one.requests[-1:]}
    for one in shown:
        if one.number in named and one.body is not None:
            lines.append(f"The messages of request {one.number}:")
            lines += _messages(one.body.get("messages"))
    # The replay is pasted: it may be longer, and is not broken.
    return "\n".join([*map(within, lines), f"Play it again: {replay}"])


def _messages(messages: object) -> list[str]:
    if not isinstance(messages, list):
        return [f"  {messages!r}"]
    return [f"  {json.dumps(one, ensure_ascii=False)}" for one in messages]  # pyright: ignore[reportUnknownVariableType] - any JSON


def within(line: str) -> str:
    """A line within the columns; what is too long goes on below, indented."""
    if len(line) <= COLUMNS:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, COLUMNS, subsequent_indent=indent, break_long_words=True)
