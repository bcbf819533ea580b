"""The `detent` command."""

from detent.cli.main import main

__all__ = ["main"]
