"""The conversation as a machine: its tables, its events, its state and its one step."""
