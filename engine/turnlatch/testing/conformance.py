"""Suites that a journal or a model of somebody else's can run; ours pass them.

Inherit a suite in a test module and say how to make what is tested. The tests need pytest
to be found, but nothing of this package imports it.
"""

from turnlatch.testing.model_conformance import ModelConformance
from turnlatch.testing.store_conformance import StoreConformance

__all__ = ["ModelConformance", "StoreConformance"]
