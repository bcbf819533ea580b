"""One process of the demo: it converses until it is done, or until it is killed.

`python -m turnlatch.cli.demo_act ACT BASE_URL STORE FILES LEDGER SIGNAL_FD`
"""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, assert_never

import anyio
import click

from turnlatch import (
    Arrived,
    Conversation,
    Missed,
    Probed,
    Progressed,
    Recorded,
    RemedyChosen,
    RetryCancelled,
    RetryPolicy,
    RetryScheduled,
    StreamEvent,
    Turn,
    TurnEnded,
    TurnFailed,
    TurnSuspended,
    tool,
)
from turnlatch.cli.hints import prefix_words, remedy_words
from turnlatch.cli.terminal import Ink, Look, guard_streams, survey
from turnlatch.tools import Tool
from turnlatch_states.fsm.table import Role
from turnlatch_states.machine.events import CallerEvent, CallEvent, MoveEvent
from turnlatch_states.machine.turn import TURN

NAME = "demo"
POLICY = RetryPolicy(attempts_max=4, first_wait_seconds=0.3)
COLOURS: Final[Mapping[Role, Ink]] = {
    Role.BAD: "red",
    Role.OK: "green",
    Role.BUSY: "blue",
    Role.UPKEEP: "magenta",
}


def look() -> Look:
    """How things are shown here."""
    return survey(plain=False).look


def say(text: str = "") -> None:
    """Print a line at once: this process may be killed at any moment."""
    click.echo(text)
    sys.stdout.flush()


def scene(number: int, title: str) -> None:
    """Announce what is about to happen."""
    say()
    say(look().ink(f"{number}  {title}", "bold"))


def shown(name: str) -> str:
    """A state as it is drawn: icon, word, colour."""
    state = TURN.state(name)
    return look().ink(f"{state.icon} {name}", COLOURS.get(state.role, "plain"))


def show(event: StreamEvent) -> None:
    """Print a transition, its calls, a wait, a remedy or the answer."""
    match event:
        case Recorded():
            for line in entry_lines(event):
                say(f"     turn {event.turn}  {line}")
        case TurnEnded(turn=turn):
            if turn.done and turn.text:
                say(f"     “{turn.text}”")
        case Arrived() | Progressed() | Missed():
            pass
        case _:
            assert_never(event)


def entry_lines(entry: Recorded) -> Iterator[str]:
    """A journal entry in words: what it says about the cache, its move, its calls."""
    if entry.prefix_change is not None and (words := prefix_words(entry.prefix_change)):
        yield look().ink(f"· {words}", "dim")
    if (move := entry.move) is not None:
        fault = f"   {entry.event.fault}" if isinstance(entry.event, TurnFailed) else ""
        yield f"{shown(move.source)} ─{move.trigger}→ {shown(move.target)}{fault}"
    for call in entry.calls:
        ended = f": {call.closing.value}" if call.closing else ""
        yield f"  call {call.name} {call.state.value}{ended}"
    event = entry.event
    if isinstance(event, MoveEvent | CallEvent | CallerEvent):
        return
    match event:
        case RetryScheduled(failures=failures, attempts_max=most, wait_seconds=wait):
            yield f"waits {wait:.1f} s, then attempt {failures + 1} of {most}"
        case RemedyChosen(remedy=remedy):
            yield look().ink(f"· {remedy_words(remedy)}", "dim")
        case TurnSuspended(why=why):
            yield f"suspended: {why}; retry() goes on with it"
        case Probed() | RetryCancelled():
            pass  # the demo shows moves, waits and calls
        case _:
            assert_never(event)


def file_tools(root: Path, ledger: Path, alarm: Callable[[], None]) -> list[Tool]:
    """A real file-reading tool, and one with an effect that can be counted."""
    base = root.resolve()

    @tool(effect="safe", max_output="2 KiB")
    async def read_file(path: str) -> str:
        """Read a text file of the project.

        Args:
            path: Path from the project's root.
        """
        found = (base / path).resolve()
        if not found.is_relative_to(base):
            raise PermissionError(f"{path} is outside the project")
        return await anyio.Path(found).read_text(encoding="utf-8")

    @tool(effect="once")
    async def append_line(line: str) -> str:
        """Append a line to the ledger, for good.

        Args:
            line: The line.
        """
        async with await anyio.open_file(ledger, "a", encoding="utf-8") as file:
            await file.write(line + "\n")
        alarm()
        await anyio.sleep_forever()
        return "appended"

    return [read_file, append_line]


async def watched(chat: Conversation, text: str) -> Turn:
    """Say something and print every transition."""
    say(f"     > {text}")
    stream = chat.stream(text)
    async for event in stream:
        show(event)
    return await stream.turn()


async def first_act(chat: Conversation) -> None:
    """Scenes 1 to 4; the process is killed in the middle of the fourth."""
    scene(1, "a turn with tool calls")
    await watched(chat, "[scene 1] What is this project? Look at its files.")
    scene(2, "a 429 with retry-after and a 529 hit a turn")
    await watched(chat, "[scene 2] Say it in one sentence.")
    scene(3, "the stream is cut after a tool_use began")
    await watched(chat, "[scene 3] And what is its licence?")
    scene(4, "the process is killed (SIGKILL) while a tool runs")
    await watched(chat, "[scene 4] Write a line into the ledger.")


async def second_act(chat: Conversation) -> None:
    """The rest, in a new process that finds the journal."""
    scene(4, "a new process opens the journal, and goes on")
    turn = chat.turn
    assert turn is not None
    for call in turn.calls:
        closing = call.closing.value if call.closing else call.state.value
        say(f"     turn {turn.number}    call {call.name} is closed: {closing}")
    say("     > retry()")
    await narrated(chat, chat.retry)

    scene(5, "a compaction request times out, for good")
    say("     > compact()")
    await narrated(chat, chat.compact)
    say("     the old context is in force, and the conversation simply goes on:")
    await watched(chat, "[scene 5] Never mind. What did we talk about?")

    scene(6, "an input that the server refuses for ever")
    await watched(chat, "[scene 6, refused] This will never be accepted.")
    say("     it is rolled back: history ends where it did, and the next one works:")
    await watched(chat, "[scene 6] Then let us talk about something else.")


async def narrated(chat: Conversation, work: Callable[[], Awaitable[Turn]]) -> Turn:
    """Do something that runs a turn, and print what happens while it does."""
    cursor = chat.cursor

    async def follow() -> None:
        async for event in chat.watch(cursor):
            show(event)
            if isinstance(event, TurnEnded):
                return

    made: list[Turn] = []
    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        made.append(await work())
    return made[0]


async def act(
    number: int, base_url: str, store: Path, files: Path, ledger: Path, signal: int
) -> None:
    """Open the conversation and play one act."""
    import anthropic

    def alarm() -> None:
        os.write(signal, b"!")

    client = anthropic.AsyncAnthropic(api_key="demo", base_url=base_url, max_retries=0)
    async with (
        client,
        Conversation.open(
            NAME,
            store=store,
            tools=file_tools(files, ledger, alarm),
            client=client,
            timeout=1.5,
            retry=POLICY,
        ) as chat,
    ):
        await (first_act(chat) if number == 1 else second_act(chat))


def main() -> None:
    """Play the act that the command line names."""
    guard_streams()
    number, base_url, store, files, ledger, signal = sys.argv[1:]
    anyio.run(
        act, int(number), base_url, Path(store), Path(files), Path(ledger), int(signal)
    )


if __name__ == "__main__":
    main()
