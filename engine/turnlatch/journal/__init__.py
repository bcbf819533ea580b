"""Journals: where what happened to a conversation is kept, in memory or in SQLite."""

from turnlatch.journal.memory import MemoryStore
from turnlatch.journal.sqlite import SQLiteStore

__all__ = ["MemoryStore", "SQLiteStore"]
