"""What the engine does next for a conversation, and what the answer to it means."""
