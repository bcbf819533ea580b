"""The whole next request, checked against the rules of where it goes."""

import json

from turnlatch.rulebook import Rulebook
from turnlatch_states.api.rules import Finding
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.synthetic_results import staged_if_stopped
from turnlatch_states.request.build import betas, build
from turnlatch_states.request.preflight import never_ended
from turnlatch_states.request.profile import Purpose

_ANYTHING = b'{"type":"text","text":"-"}'


def findings(snapshot: Snapshot, rules: Rulebook | None = None) -> tuple[Finding, ...]:
    """Everything the strict rules have to say about the whole next request.

    The next request is the one a message would make now: calls that are open would be
    closed by it, a server tool that never ended is left out, as before each request,
    and where nothing is staged, some words stand in for it. `rules` are
    those of the server that it would go to; by default the API's own.
    """
    turn = snapshot.turn
    staged = staged_if_stopped(turn) if turn is not None else b""
    profile = snapshot.profile
    view = snapshot.showing.adding(*never_ended(snapshot.history, followed=True))
    staged = staged or _ANYTHING
    body = build(profile, snapshot.history, snapshot.base, staged, view=view)
    names = betas(profile, snapshot.base, Purpose.MESSAGE, view=view)
    return tuple(
        (rules or Rulebook()).findings(json.loads(body), frozenset(names), len(body))
    )
