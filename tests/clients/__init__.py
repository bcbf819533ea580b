"""Real clients of the Messages API, each against the simulator: `make clients`.

It is no part of `make test`: it installs public packages by name, pinned in `catalogue`,
each into a folder of its own that is removed afterwards.
"""
