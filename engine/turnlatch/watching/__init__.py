"""The events of a conversation, published once and read by any number of readers."""
