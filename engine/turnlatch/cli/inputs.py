"""Reading what a command is given, and no more of it than it can use."""

import sys

import click

seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of what is random."
)
"""The option of a command that gives the same run for the same seed."""


def read_file(name: str, most: int) -> bytes | None:
    """Every byte of a file, or of standard input for `-`; None if there are too many.

    A pipe and a device are read no further than a file.

    Args:
        name: The file.
        most: Most bytes.

    Raises:
        OSError: It cannot be read.
    """
    if name == "-":
        data = sys.stdin.buffer.read(most + 1)
    else:
        with open(name, "rb") as stream:
            data = stream.read(most + 1)
    return data if len(data) <= most else None
