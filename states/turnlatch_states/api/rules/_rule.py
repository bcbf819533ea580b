"""A rule: one named predicate, with what to do about it and where it is known from."""

from collections.abc import Callable, Iterator
from typing import final

import attrs

from turnlatch_states.api.rules._base import Context, Finding
from turnlatch_states.api.rules._request import Body


@final
@attrs.frozen
class Rule:
    """One named predicate of the API.

    Attributes:
        id: `R1` to `R34`; part of the public interface.
        title: The requirement on a request, in one line.
        help: What to do about a violation.
        source: Where this is known from, and how surely.
        check: The predicate; yields one finding for each violation.
        unseen: The facts that a body alone does not show, so that the rule is silent
            about them; empty if the body shows everything.
    """

    id: str
    title: str
    help: str
    source: str
    check: Callable[[Body, Context], Iterator[Finding]]
    unseen: str = ""


def silent(request: Body, context: Context) -> Iterator[Finding]:
    """Nothing: the predicate of a rule that only states what is tolerated."""
    del request, context
    yield from ()
