"""Decides the engine's next effect for a conversation, and interprets its answer."""
