"""Install one client after the other, run it against the simulator, print a table."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, final

import attrs
import click
from tests.clients.catalogue import CELLS, CLIENTS, Cell, Client

from turnlatch.simulator import (
    Asked,
    Scripted,
    Seeded,
    Simulator,
    call,
    reply,
    run_in_thread,
)

PROGRAMS: Final = Path(__file__).parent / "programs"
SECONDS_MAX: Final = 180
SAYS: Final = "Forty-two is the answer."
SUM: Final = "The sum is seven."


@final
@attrs.frozen
class Result:
    """How one cell came out.

    Attributes:
        right: It did what was asked of it, and nothing was refused unduly.
        told: What is shown.
        detail: What it printed and what was refused, where it is not right.
    """

    right: bool
    told: str
    detail: str = ""


def script(client: Client, cell: Cell) -> Scripted:
    """The answers of a cell; requests beside the program's own get made-up text.

    The sum is told only to a request that has it, so whoever prints it ran the tool.
    """
    text = reply(SAYS, when=Asked(text="the answer"))
    if cell != "tool":
        return Scripted([text], then=Seeded())
    used = reply(
        call(client.tool, **dict(client.input)), when=Asked(tools=(client.tool,))
    )
    return Scripted([used, reply(SUM, when=Asked(text="7"))], then=Seeded())


def run(client: Client, cell: Cell, folder: Path) -> Result:
    """Run a client's program for one cell."""
    faults = "429 retry-after=1 @1" if cell == "429" else ""
    simulator = Simulator(script(client, cell), faults=faults, clock=time.time)
    with run_in_thread(simulator) as server:
        printed = _printed(client, cell, folder, server.base_url)
    refused = [e.line for e in simulator.unscripted_rejections()]
    asked = sum(e.path.endswith("/messages") for e in simulator.log)
    wanted = SUM if cell == "tool" else SAYS
    told = f"ok ({asked})"
    right = wanted in printed
    if cell == "429" and client.raises_429:
        right, told = "429" in printed and SAYS not in printed, "raised"
    elif cell == "429":
        right, told = right and asked >= 2, f"retried ({asked})"
    if refused:
        return Result(False, "REFUSED", "\n".join(refused))
    return Result(right, told) if right else Result(False, "FAILED", printed[-1500:])


def _printed(client: Client, cell: Cell, folder: Path, url: str) -> str:
    """What the program writes. Its home is a folder that holds nothing."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": f"{folder / 'venv/bin'}:{folder / 'node_modules/.bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "sk-ant-simulated",
        "CELL": cell,
        # What would be asked of the network beside the API.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "OTEL_SDK_DISABLED": "true",
    }
    program = PROGRAMS / client.program
    if client.program.endswith(".mjs"):
        # Node looks for packages beside the program.
        program = Path(shutil.copy(program, folder))
    runner = {".py": str(folder / "venv/bin/python"), ".mjs": "node", ".sh": "bash"}
    try:
        done = subprocess.run(
            [runner[program.suffix], str(program), cell],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done within {SECONDS_MAX} s"
    return done.stdout + done.stderr


def install(client: Client, folder: Path) -> str | None:
    """Install its packages; what went wrong, or None."""
    if client.node:
        commands = [["npm", "install", "--no-audit", "--no-fund", *client.packages]]
    else:
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet"]
        commands = [
            [sys.executable, "-m", "venv", str(folder / "venv")],
            [*pip, "--disable-pip-version-check", *client.packages],
        ]
    for command in commands:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            return (done.stderr or done.stdout)[-500:]
    return None


def tried(client: Client) -> dict[Cell, Result]:
    """Every cell of a client, in a folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="turnlatch-client-") as made:
        folder = Path(made)
        problem = install(client, folder)
        if problem is not None:
            return {cell: Result(False, "NOT INSTALLED", problem) for cell in CELLS}
        return {cell: run(client, cell, folder) for cell in CELLS}


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Run the clients that are named, or all; ends with 1 if a cell is not right."""
    chosen = [c for c in CLIENTS if not names or c.name in names]
    row = "{:<24}{:<12}" + "{:<16}" * len(CELLS)
    click.echo(row.format("client", "version", *CELLS))
    wrong: list[str] = []
    for client in chosen:
        results = tried(client)
        told = [results[cell].told for cell in CELLS]
        click.echo(row.format(client.name, client.version, *told).rstrip())
        wrong += [
            f"{client.name} {cell}: {result.told}\n{result.detail}"
            for cell, result in results.items()
            if not result.right
        ]
    for each in wrong:
        click.echo(f"\n{each}", err=True)
    cells = len(chosen) * len(CELLS)
    click.echo(f"{cells - len(wrong)} of {cells} cells are right")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
