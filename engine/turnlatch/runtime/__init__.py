"""The loop, and what it performs: requests, tool calls, waits and probes."""
