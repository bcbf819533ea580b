"""What the Messages API refuses, as named predicates: `check` a body before it is sent.

Each rule is one documented function with an id that stays (`R1` to `R34`). They are pure
and total: any JSON value may be checked, and what cannot be known from the body alone is
not judged unless `Context` says it.

    >>> [f.message for f in check({"model": "m", "max_tokens": 1, "messages": []})]
    ['messages: at least one message is required']
"""

import re
from collections.abc import Collection, Iterator, Mapping

from turnlatch_states.api.rules import (
    cache,
    compaction,
    limits,
    pairing,
    shape,
    system,
    thinking,
    thread,
    tools,
)
from turnlatch_states.api.rules._advice import advice as _advice
from turnlatch_states.api.rules._base import (
    VERSION_2026,
    ApiLimits,
    Context,
    Finding,
    Verifier,
    member,
)
from turnlatch_states.api.rules._parts import RESULT_PART
from turnlatch_states.api.rules._request import Body
from turnlatch_states.api.rules._rule import Rule
from turnlatch_states.api.rules._schema import Sink

__all__ = [
    "RULES",
    "VERSION_2026",
    "ApiLimits",
    "Body",
    "Context",
    "Finding",
    "Rule",
    "Verifier",
    "advice",
    "check",
    "explain",
    "is_result_part",
    "member",
]

_MODULES = (
    *(shape, tools, pairing, thinking, system, compaction, cache, limits, thread),
)
_BY_ID: dict[str, Rule] = {
    rule.id: rule for module in _MODULES for rule in module.RULES
}
# The order in which the server is assumed to check: schema, the model's parameters,
# structure, signatures, limits, thread. It is documented nowhere.
_ORDER = (
    "R1 R2 R3 R4 R32 R28 R29 R20 R34 R6 R14 R5 R25 R26 R11 R8 R10 R13 R17 R9 R12 R15 R16 "
    "R19 R7 R27 R24 R18 R21 R22 R23 R30 R31 R33"
)
RULES: tuple[Rule, ...] = tuple(_BY_ID[name] for name in _ORDER.split())
"""Every rule, in the order in which the server is assumed to check."""

_NO_CONTEXT = Context()


def check(
    body: Mapping[str, object],
    context: Context = _NO_CONTEXT,
    *,
    only: Collection[str] | None = None,
) -> Iterator[Finding]:
    """Yield what the server would refuse in `body`, its first answer first.

    Lazy: findings of the schema come in the order of the body while it is read, then
    those of the rules in the order of `RULES`. A rule says nothing about a place whose
    shape is already wrong.

    Args:
        body: The request body; anything else is a finding, never an exception.
        context: What the body does not say: headers, model, the server's knowledge.
        only: The ids of the rules to report.
    """
    request = Body(body, context)
    misshapen: set[str] = set()
    for finding in request.shape:
        misshapen.add(finding.path)
        if only is None or finding.rule in only:
            yield finding
    for rule in RULES:
        if only is not None and rule.id not in only:
            continue
        for finding in rule.check(request, context):
            if finding.path not in misshapen:
                yield finding


def advice(finding: Finding) -> str:
    """What to do about this very finding, in a sentence."""
    return _advice(finding, _BY_ID[finding.rule].help)


def explain(rule: str) -> str:
    """The meaning of `rule`, the remedy for a violation, and the source.

    Raises:
        KeyError: There is no such rule.
    """
    known = _BY_ID[rule]
    about = (known.check.__doc__ or "").strip()
    meaning = "\n".join(line.strip() for line in about.splitlines())
    unseen = f"Not seen in a file: {known.unseen}\n" if known.unseen else ""
    return (
        f"{known.id}: {known.title}\n\n{meaning}\n\n{unseen}"
        f"What to do: {known.help}\nSource: {known.source}\n"
    )


def is_result_part(value: object) -> bool:
    """True for an object with the fields of a block that a `tool_result` may hold.

    Whether the source of an image or a document can be used is left to `check`.
    """
    sink = Sink(frozenset())
    RESULT_PART(value, None, sink)
    return all(_IN_SOURCE.match(finding.path) for finding in sink.found)


_IN_SOURCE = re.compile(r"(?:image|document)\.source\.")
