"""The command: `python -m benchmarks.peers [--only PEER] [--row ROW] [--write]`."""

import concurrent.futures
import datetime
import sys
from pathlib import Path

import click

from benchmarks.peers.cells import Cell, cell
from benchmarks.peers.environments import FOLDER, PEERS, python_of
from benchmarks.peers.matrix import FILE, as_json, as_markdown, matrix, read_json, write
from benchmarks.peers.rows import ROWS

CACHE = Path(".peers")


@click.command()
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([one.name for one in PEERS]),
    help="The folder of an agent; all by default.",
)
@click.option(
    "--row",
    multiple=True,
    type=click.Choice([one.name for one in ROWS]),
    help="The name of a row; all by default.",
)
@click.option("--jobs", default=2, show_default=True, help="Cells at the same time.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write it there.")
@click.option(
    "--write", "kept", is_flag=True, help="Write matrix.json and docs/peers.md."
)
def main(
    only: tuple[str, ...],
    row: tuple[str, ...],
    jobs: int,
    file: Path | None,
    kept: bool,
) -> None:
    """Play every row on every agent, and print the matrix.

    Agents on other libraries run in separate environments, which are made in .peers/ and
    need a package index. It takes some ten minutes.
    """
    peers = [one for one in PEERS if not only or one.name in only]
    rows = [one for one in ROWS if not row or one.name in row]
    pythons = {one.name: python_of(one, CACHE.absolute()) for one in peers}
    cells: dict[tuple[str, str], Cell] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        running = {
            pool.submit(cell, each, (pythons[one.name], str(one.program)), _given()): (
                one.name,
                each.name,
            )
            for each in rows
            for one in peers
        }
        for done in concurrent.futures.as_completed(running):
            cells[running[done]] = done.result()
            peer, name = running[done]
            click.echo(f"{peer}, {name}: {done.result()}", err=True)
    made = matrix(peers, rows, cells, datetime.datetime.now(datetime.UTC).date())
    click.echo(as_markdown(made))
    if file is not None:
        file.write_text(as_json(made), encoding="utf-8")
    if kept:
        write(made)
    elif FILE.exists():
        changed = read_json(FILE.read_text(encoding="utf-8")).differences(made)
        click.echo("\n".join(["", "Against matrix.json:", *(changed or ["the same"])]))
        sys.exit(bool(changed))


def _given() -> dict[str, str]:
    """What an agent finds in its environment: the tools, and no telemetry."""
    return {
        "PYTHONPATH": str(FOLDER),
        "PYTHONWARNINGS": "ignore",
        "OTEL_SDK_DISABLED": "true",
        "LANGSMITH_TRACING": "false",
    }


if __name__ == "__main__":
    main()
