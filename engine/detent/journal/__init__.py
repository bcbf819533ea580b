"""Journals: where what happened to a conversation is kept, in memory or in SQLite."""

from detent.journal.memory import MemoryStore
from detent.journal.sqlite import SQLiteStore

__all__ = ["MemoryStore", "SQLiteStore"]
