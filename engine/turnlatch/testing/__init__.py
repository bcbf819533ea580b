"""Fakes for the engine's ports, public so that you can test your own agents with them.

For the model, use `turnlatch.simulator`; for the journal, `turnlatch.journal.MemoryStore`.
"""

from turnlatch.testing.fakes import SeededIds, VirtualClock

__all__ = ["SeededIds", "VirtualClock"]
