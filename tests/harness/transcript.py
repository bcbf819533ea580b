"""Transcripts: a conversation as a text file, played through the real engine.

A transcript is a list of commands, each with the lines that it printed when it was last
recorded. `pytest tests/transcripts` plays every file and compares; `--rewrite` writes the
printed lines into the files instead, for a look at the diff:

    # A rate limit is waited out as the server says, and moves no pointer.
    > model "Hello."
    > faults 429 retry-after=2 @1
    > open
    > say Hi
      TurnOpened turn=1 "Hi"
      RequestSent turn=1 attempt=1
      wire 1: user "Hi" -> 429 (429 retry-after=2)
      ...
      = confirmed.done "Hello."

A line that begins with `#` is a comment, one that begins with `> ` a command (`COMMANDS`),
one that begins with two spaces was printed. What is printed:

    Event field=value ...   an entry of the journal, in its order (read back from the file)
    wire N: ... -> status   a request that reached the service, with all its messages
    ran act a               a tool's run, told after the events of the same moment
    waited 2 s              a wait of the virtual clock
    = confirmed.done "..."  the turn that the command returned: state, substate, text
    ! NotNowError: ...      the error that the command raised

Nothing printed varies: ids are counted and named m1, m2, ... in their order, times are
seconds since the start. Calls of one reply run in parallel, in an order that no law
fixes: a transcript lets each reply make at most one call that runs.
"""

import difflib
from typing import final

import anyio
import attrs
from tests.harness.transcript_player import COMMANDS, Player, Step
from tests.harness.world import World


class TranscriptError(Exception):
    """A transcript that cannot be read: `file:line: problem`."""

    def __init__(self, path: str, line: int, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}")


@final
@attrs.frozen
class Transcript:
    """A file, parsed.

    Attributes:
        path: The file, as errors name it.
        kept: The lines that are not printed by commands, and the commands, in order.
    """

    path: str
    kept: tuple[str | Step, ...]

    @classmethod
    def parse(cls, written: str, path: str) -> "Transcript":
        """Read a transcript.

        Raises:
            TranscriptError: A line is none of the three kinds, a command is unknown, or
                something was printed before the first command.
        """
        kept: list[str | Step] = []
        printing = False
        for number, line in enumerate(written.splitlines(), 1):
            if line.startswith("  "):
                if not printing:
                    raise TranscriptError(path, number, "no command printed this line")
            elif line.startswith("> "):
                name, _, rest = line[2:].partition(" ")
                if name not in COMMANDS:
                    known = ", ".join(sorted(COMMANDS))
                    raise TranscriptError(
                        path, number, f"unknown command {name!r}; known: {known}"
                    )
                kept.append(Step(number, name, rest.strip()))
                printing = True
            elif not line or line.startswith("#"):
                kept.append(line)
                printing = False
            else:
                raise TranscriptError(
                    path, number, "a line begins with '# ', '> ' or two spaces"
                )
        return cls(path, tuple(kept))

    async def played(self, world: World) -> str:
        """The transcript as it is when played now, as text."""
        lines: list[str] = []
        async with anyio.create_task_group() as group:
            player = Player(world, group)
            for one in self.kept:
                if isinstance(one, str):
                    lines.append(one)
                    continue
                lines.append(f"> {one.name} {one.rest}".rstrip())
                try:
                    printed = await player.do(one)
                except (ValueError, KeyError) as problem:
                    raise TranscriptError(self.path, one.line, str(problem)) from None
                lines += [f"  {line}" for line in printed]
            await player.end()
        return "\n".join(lines) + "\n"


def difference(written: str, played: str, path: str) -> str:
    """What differs, for a person: empty if nothing does."""
    lines = difflib.unified_diff(
        written.splitlines(), played.splitlines(), path, "played now", lineterm="", n=4
    )
    return "\n".join(lines)
