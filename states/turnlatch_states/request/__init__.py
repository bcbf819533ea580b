"""The parts of a request, and its builder."""
