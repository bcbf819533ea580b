"""Refusals in somebody else's words: what a proxy put its own text around."""

import re
from typing import Final

import attrs

from turnlatch_states.api.faults import Fault, FaultKind, classify, named_path

_SEAM: Final = re.compile(r"[:=\-\"]\s*")
_CLOSE: Final = re.compile(r"\\*\"")
_TELLS: Final = frozenset({FaultKind.INVALID, FaultKind.THINKING})


def unwrapped(fault: Fault) -> Fault:
    """A refusal as the service said it, where a proxy has put its own words around it.

    Only what names nothing by its status, type and code is read so, and what is read
    decides nothing but which trial comes first.
    """
    if fault.kind not in _TELLS or fault.path is not None:
        return fault
    for seam in _SEAM.finditer(fault.message):
        inner = _CLOSE.split(fault.message[seam.end() :].lstrip('\\" '), maxsplit=1)[0]
        kind = classify(fault.status, None, None, inner)
        if kind is not FaultKind.INVALID:
            path = named_path(inner)
            return attrs.evolve(
                fault, kind=kind, message=inner, path=path, foreign=False
            )
    return fault
