"""Exhaustive exploration of turns, calls, writers, the journal and faults within bounds.

The engine's own pure functions (`Parts`) are driven through everything that the caller, the
world, the journal and death may do, breadth first, and every edge is held to `PROPERTIES`.
"""

from turnlatch.testing.verify.exploration import Exploration, Violation, explored
from turnlatch.testing.verify.judge import PROPERTIES
from turnlatch.testing.verify.process import Parts
from turnlatch.testing.verify.report import as_json, report
from turnlatch.testing.verify.situation import CI, FULL, VerifyBounds

__all__ = [
    "CI",
    "FULL",
    "PROPERTIES",
    "Exploration",
    "Parts",
    "VerifyBounds",
    "Violation",
    "as_json",
    "explored",
    "report",
]
