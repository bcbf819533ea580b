"""`detent demo`: one real conversation, six things thrown at it, nothing lost.

Everything is real but the model: the SDK, its HTTP client, sockets on loopback, an
SQLite journal on disk, a file-reading tool, and a process that is killed with SIGKILL.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from detent.simulator import Answer, Simulator
    from detent_states.snapshot import Snapshot

FAULTS = (
    '429 retry-after=1 body="[scene 2]", '
    '529 body="[scene 2]", '
    'cut 9 eof body="[scene 3]" on stream, '
    "stall forever on compaction, "
    '400 message="Output blocked by content filtering policy"'
    ' body="[scene 6, refused]" forever'
)
"""The script, as `detent simulate --faults` takes it."""


class Storyteller:
    """The model of the demo: it uses the tools it is given, and says what it saw."""

    def answer(self, request: "Mapping[str, Any]", rng: "random.Random", /) -> "Answer":
        """Answer one request; see `detent.simulator.Responder`."""
        from detent.simulator import call, reply

        last = request["messages"][-1]["content"]
        blocks = last if isinstance(last, list) else [{"type": "text", "text": last}]
        results = [b for b in blocks if b.get("type") == "tool_result"]
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
    """What the demo claims, each with what was found.

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
    default=Path(),
    help="Folder that the file-reading tool may read.",
)
def demo(files: Path) -> None:
    """Watch one conversation survive six faults.

    Runs offline in under 30 seconds, on the built-in simulator over loopback.

    Example: detent demo
    """
    from detent.simulator import Simulator, parse_faults
    from detent.simulator.server import run_in_thread

    if not (files / "README.md").is_file() or not (files / "LICENSE").is_file():
        raise click.UsageError(
            f"{files.resolve()} has no README.md and LICENSE to read;"
            " run it in a project's folder, or name one with --files"
        )
    began = time.monotonic()
    simulator = Simulator(Storyteller(), faults=parse_faults(FAULTS))
    with tempfile.TemporaryDirectory(prefix="detent-demo-") as folder:
        place = Path(folder)
        store, ledger = place / "demo.db", place / "ledger.txt"
        click.echo(
            "The simulator answers, so the words are made up; the SDK, the sockets, the"
            "\njournal and the SIGKILL are real. Its orders:"
        )
        for fault in parse_faults(FAULTS):
            click.echo(f"     {fault}")
        with run_in_thread(simulator) as server:
            _play(1, server.base_url, store, files, ledger, kill=True)
            _play(2, server.base_url, store, files, ledger, kill=False)
        snapshot = _recorded(store)
        checks = _checked(simulator, snapshot, ledger)
    _report(checks, snapshot, time.monotonic() - began)
    if not checks.hold:
        sys.exit(1)


def _play(
    act: int, base_url: str, store: Path, files: Path, ledger: Path, *, kill: bool
) -> None:
    """Run one act in a process of its own; kill it when its tool has had its effect."""
    reader, writer = os.pipe()
    arguments = [str(act), base_url, str(store), str(files), str(ledger), str(writer)]
    command = [sys.executable, "-m", "detent.cli.demo_act", *arguments]
    sys.stdout.flush()
    process = subprocess.Popen(command, pass_fds=[writer])
    os.close(writer)
    try:
        if kill and os.read(reader, 1):
            process.send_signal(signal.SIGKILL)
        code = process.wait(timeout=60)
    except BaseException:
        process.kill()
        raise
    finally:
        os.close(reader)
    if kill:
        click.secho(f"     SIGKILL: process {process.pid} is gone", fg="red")
    elif code:
        raise click.ClickException(f"act {act} ended with exit code {code}")


def _recorded(store: Path) -> "Snapshot":
    """What the journal on disk holds, read as any later process would."""
    from detent.cli.demo_act import NAME
    from detent.journal import SQLiteStore
    from detent.loading import load

    opened = SQLiteStore(store)
    try:
        loaded = load(opened.read(NAME))
    finally:
        opened.close()
    assert loaded is not None, "the acts recorded a conversation"
    return loaded.snapshot


def _checked(simulator: "Simulator", snapshot: "Snapshot", ledger: Path) -> Checks:
    """Hold what the demo claims against the server's log and the journal."""
    from detent.checking import findings

    log = [e for e in simulator.log if e.path.endswith("/messages")]
    confirmed = [one.message_id for one in snapshot.history]
    last: str | None = None
    named = right = 0
    for exchange in log:
        body = exchange.body or {}
        diagnostics: Any = body.get("diagnostics")
        if isinstance(diagnostics, dict):
            named += 1
            right += diagnostics.get("previous_message_id") == last
        if exchange.message_id in confirmed:
            last = exchange.message_id
    refused = simulator.unscripted_rejections()
    effects = ledger.read_text(encoding="utf-8").count("\n")
    illegal = findings(snapshot)
    lost = [e for e in log if e.message_id and e.message_id not in confirmed]
    return Checks(
        (
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
    ("a turn with two tool calls", "confirmed"),
    ("429 retry-after=1, then 529", "waited, then confirmed; pointer never moved"),
    ("stream cut inside a tool_use", "rolled back, sent again; nothing ran twice"),
    ("SIGKILL while a tool ran", "resumed; told as “outcome unknown”, not run again"),
    ("compaction timed out for good", "failed; the old context stayed in force"),
    ("an input refused for ever", "rolled back; the next message was confirmed"),
)


def _report(checks: Checks, snapshot: "Snapshot", seconds: float) -> None:
    """The closing table: what was thrown, what history holds, what the server says."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    thrown = Table(title="What was thrown at it", title_justify="left")
    thrown.add_column("#")
    thrown.add_column("fault")
    thrown.add_column("what became of it")
    for number, (what, became) in enumerate(THROWN, 1):
        thrown.add_row(str(number), what, became)
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
        console.print()
        console.print(table)
    verdict = (
        "every later request was accepted" if checks.hold else "a claim does not hold"
    )
    console.print(f"\n{verdict}; {seconds:.1f} s")
