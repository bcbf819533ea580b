"""The `turnlatch` command."""

from turnlatch.cli.main import main

__all__ = ["main"]
