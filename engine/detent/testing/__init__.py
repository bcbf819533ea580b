"""Fakes for the engine's ports, public so that you can test your own agents with them.

For the model, use `detent.simulator`; for the journal, `detent.journal.MemoryStore`.
"""

from detent.testing.fakes import SeededIds, VirtualClock

__all__ = ["SeededIds", "VirtualClock"]
