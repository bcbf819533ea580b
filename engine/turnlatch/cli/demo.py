"""`turnlatch demo`: one real conversation, six things thrown at it, nothing lost.

Everything is real but the model: the SDK, its HTTP client, sockets on loopback, an
SQLite journal on disk, a file-reading tool, and a process that is killed with SIGKILL.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from turnlatch.cli.terminal import survey
from turnlatch_states.machine.call import Closing

if TYPE_CHECKING:
    import random
    from collections.abc import Generator, Mapping

    from rich.console import Console

    from turnlatch.simulator import Answer, Simulator
    from turnlatch_states.machine.snapshot import Snapshot, Turn

FAULTS = (
    '429 retry-after=1 body="[scene 2]", '
    '529 body="[scene 2]", '
    'cut 9 eof body="[scene 3]" on stream, '
    "stall forever on compaction, "
    '400 message="Output blocked by content filtering policy"'
    ' body="[scene 6, refused]" forever'
)
"""The script, as `turnlatch simulate --faults` takes it."""

TEXTS = {
    "README.md": "# An example\n\nA project that is here to be read.\n",
    "pyproject.toml": '[project]\nname = "example"\nversion = "1"\n',
    "LICENSE": "You may do anything with these files.\n",
}
"""The files that the model of the demo asks for."""


class Storyteller:
    """The model of the demo: it uses the tools it is given, and says what it saw."""

    def answer(self, request: "Mapping[str, Any]", rng: "random.Random", /) -> "Answer":
        """Answer one request; see `turnlatch.simulator.Responder`."""
        from turnlatch.simulator import call, reply

        blocks: list[dict[str, Any]] = list(request["messages"][-1]["content"])
        results: list[Mapping[str, Any]] = [
            b for b in blocks if b.get("type") == "tool_result"
        ]
        if results:
            return reply(_retell(results))
        said = " ".join(str(b.get("text", "")) for b in blocks)
        if "[scene 1]" in said:
            return reply(
                "Let me look.",
                call("read_file", path="README.md"),
                call("read_file", path="pyproject.toml"),
            )
        if "[scene 3]" in said:
            return reply("It says so here:", call("read_file", path="LICENSE"))
        if "[scene 4]" in said:
            return reply("Writing.", call("append_line", line="this happened once"))
        turns = sum(1 for m in request["messages"] if m["role"] == "user")
        return reply(f"Gladly. I see {turns} messages of yours, each exactly once.")


def _retell(results: "list[Mapping[str, Any]]") -> str:
    texts = [str(r.get("content", "")) for r in results]
    if any("outcome unknown" in text for text in texts):
        return "I cannot know whether the line was written. I will not write it again."
    lines = sum(text.count("\n") for text in texts)
    return f"I read {len(texts)} file(s), {lines} lines in all."


@attrs.frozen
class Checks:
    """The claims of the demo, each with its result.

    Attributes:
        rows: (claim, what was found, whether it holds).
    """

    rows: tuple[tuple[str, str, bool], ...]

    @property
    def hold(self) -> bool:
        """True if every claim holds."""
        return all(held for _, _, held in self.rows)


@click.command()
@click.option(
    "--files",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that the file-reading tool may read, instead of one with a few texts.",
)
def demo(files: Path | None) -> None:
    """Watch one conversation survive six faults.

    Runs offline in under 30 seconds, on the built-in simulator over loopback.

    Example: turnlatch demo
    """
    from turnlatch.simulator import Simulator, parse_faults
    from turnlatch.simulator.server import run_in_thread

    if files is not None and not all((files / name).is_file() for name in TEXTS):
        raise click.UsageError(
            f"{files.resolve()} has no {', '.join(TEXTS)} to read;"
            " name a project's folder, or leave --files out"
        )
    began = time.monotonic()
    simulator = Simulator(Storyteller(), faults=parse_faults(FAULTS))
    with tempfile.TemporaryDirectory(prefix="turnlatch-demo-") as folder:
        place = Path(folder)
        store, ledger = place / "demo.db", place / "ledger.txt"
        files = _texts(place / "files") if files is None else files
        click.echo(
            "The simulator answers, so the words are made up; the SDK, the sockets, the"
            "\njournal and the SIGKILL are real. Its orders:"
        )
        for fault in parse_faults(FAULTS):
            click.echo(f"     {fault}")
        with run_in_thread(simulator) as server:
            _play(1, server.base_url, store, files, ledger, kill=True)
            _play(2, server.base_url, store, files, ledger, kill=False)
        recorded = _recorded(store)
        checks = _checked(simulator, recorded, ledger)
    _report(checks, recorded, time.monotonic() - began)
    if not checks.hold:
        sys.exit(1)


def _texts(folder: Path) -> Path:
    """A folder with what the model of the demo reads, wherever the demo runs."""
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def _play(
    act: int, base_url: str, store: Path, files: Path, ledger: Path, *, kill: bool
) -> None:
    """Run one act in a new process; kill it when its tool has had its effect."""
    reader, writer = os.pipe()
    arguments = [str(act), base_url, str(store), str(files), str(ledger), str(writer)]
    # Safe: nothing is imported from the folder that the demo happens to run in.
    command = [sys.executable, "-P", "-m", "turnlatch.cli.demo_act", *arguments]
    sys.stdout.flush()
    with _uninterrupted():
        process = subprocess.Popen(command, pass_fds=[writer])
    os.close(writer)
    try:
        if kill and os.read(reader, 1):
            process.send_signal(signal.SIGKILL)
        code = process.wait(timeout=60)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(reader)
    if kill:
        look = survey(plain=False).look
        told = f"     SIGKILL: process {process.pid} is gone"
        click.echo(look.ink(told, "red"))
    elif code:
        raise click.ClickException(f"act {act} ended with exit code {code}")


@contextlib.contextmanager
def _uninterrupted() -> "Generator[None]":
    """A process started in this block does not get Ctrl-C: the parent ends it. A Ctrl-C in
    the parent waits until the block is left."""
    was = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, was)


@attrs.frozen
class StoredTurns:
    """The contents of the journal on disk, read as any later process would.

    Attributes:
        snapshot: Where the conversation stands.
        turns: Every turn as it was left, in order.
    """

    snapshot: "Snapshot"
    turns: "tuple[Turn, ...]"


def _recorded(store: Path) -> StoredTurns:
    """Fold the journal, and keep every turn as it was last seen."""
    from turnlatch.cli.demo_act import NAME
    from turnlatch.journal import SQLiteStore
    from turnlatch_states.machine.events import ConversationOpened
    from turnlatch_states.machine.step import begin, step

    opened = SQLiteStore(store)
    try:
        events = [entry.event for entry in opened.read(NAME)]
    finally:
        opened.close()
    first = events[0]
    assert isinstance(first, ConversationOpened)
    snapshot = begin(first)
    turns: dict[int, Turn] = {}
    for event in events[1:]:
        snapshot = step(snapshot, event).snapshot
        if snapshot.turn is not None:
            turns[snapshot.turn.number] = snapshot.turn
    return StoredTurns(snapshot, tuple(turns.values()))


EXPECTED = ("confirmed",) * 4 + ("failed", "confirmed") * 2
"""How each turn of the demo has to end."""


def _checked(simulator: "Simulator", recorded: StoredTurns, ledger: Path) -> Checks:
    """Hold what the demo claims against the server's log and the journal."""
    from turnlatch.runtime.preflight import findings

    snapshot = recorded.snapshot
    ends = tuple(turn.state for turn in recorded.turns)
    log = [e for e in simulator.log if e.path.endswith("/messages")]
    confirmed = [one.message_id for one in snapshot.history]
    last: str | None = None
    named = right = 0
    for exchange in log:
        body = exchange.body or {}
        match body.get("diagnostics"):
            case {"previous_message_id": str() | None as previous}:
                named += 1
                right += previous == last
            case _:
                pass  # a compaction names none
        if exchange.message_id in confirmed:
            last = exchange.message_id
    refused = simulator.unscripted_rejections()
    effects = ledger.read_text(encoding="utf-8").count("\n")
    illegal = findings(snapshot)
    lost = [e for e in log if e.message_id and e.message_id not in confirmed]
    return Checks(
        (
            (
                "turns that ended as they should",
                f"{sum(map(eq, ends, EXPECTED))} of {len(EXPECTED)}",
                ends == EXPECTED,
            ),
            ("requests that left", str(len(log)), bool(log)),
            (
                "refused although no fault was scripted",
                str(len(refused)),
                not refused,
            ),
            (
                "previous_message_id is the last confirmed id",
                f"{right} of {named}",
                right == named > 0,
            ),
            ("replies made but never seen whole", str(len(lost)), len(lost) >= 1),
            ("times the ledger line was written", str(effects), effects == 1),
            ("findings in the next request", str(len(illegal)), not illegal),
        )
    )


THROWN = (
    "nothing: a turn with two tool calls",
    "429 retry-after=1, then 529",
    "the stream cut inside a tool_use",
    "SIGKILL while a tool ran",
    "every compaction request stalls",
    "nothing: the next message",
    "400, for ever",
    "nothing: the next message",
)
"""The fault that each turn of the demo meets, in order."""


def _became(turn: "Turn") -> str:
    """The fate of a turn, from the path it took through its table."""
    fails = sum(move.trigger == "fail" for move in turn.path)
    said = [f"{turn.attempt} request{'s' if turn.attempt > 1 else ''}"]
    if fails:
        said.append(f"{fails} failed")
    unknown = [c for c in (*turn.done, *turn.calls) if c.closing is Closing.UNKNOWN]
    if unknown:
        said.append(f"a call told as {Closing.UNKNOWN.value}")
    return f"{turn.state}: " + ", ".join(said)


def console() -> "Console":
    """The console for tables. They hold texts of the model, so markup is off; and our
    guarded streams decide about colours."""
    from rich.console import Console

    return Console(color_system=None, markup=False, emoji=False)


def _report(checks: Checks, recorded: StoredTurns, seconds: float) -> None:
    """The closing table: what was thrown, what history holds, what the server says."""
    from rich.table import Table

    told = console()
    snapshot = recorded.snapshot
    thrown = Table(title="What was thrown at it", title_justify="left")
    thrown.add_column("turn")
    thrown.add_column("what it met")
    thrown.add_column("what became of it")
    for what, turn in zip(THROWN, recorded.turns, strict=True):
        thrown.add_row(str(turn.number), what, _became(turn))
    held = Table(title="What history holds", title_justify="left")
    held.add_column("turn")
    held.add_column("exchange")
    held.add_column("confirmed reply")
    for number, one in enumerate(snapshot.history, 1):
        reply = one.reply
        calls = ", ".join(use.name for use in reply.tool_uses)
        said = json.dumps(reply.text, ensure_ascii=False)
        held.add_row(str(one.turn), str(number), f"{said} {calls}".strip())
    proved = Table(title="What the server says", title_justify="left")
    proved.add_column("claim")
    proved.add_column("found", justify="right")
    proved.add_column("")
    for claim, found, holds in checks.rows:
        proved.add_row(claim, found, "✓" if holds else "✕")
    for table in (thrown, held, proved):
        told.print()
        told.print(table)
    verdict = (
        "every later request was accepted" if checks.hold else "a claim does not hold"
    )
    told.print(f"\n{verdict}; {seconds:.1f} s")
