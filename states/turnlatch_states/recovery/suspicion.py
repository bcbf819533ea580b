"""The rungs for failures that may pass by themselves, and may not.

An outage, a refusal by the model or a problem with the account says nothing about the
conversation, so these rungs wait. Once the same failure is met often enough in a row
(`machine/doubt.py` holds the numbers), they find out whether the conversation itself is
the cause: a short request and the full one are sent in turn. Nothing is left out of the
conversation before that is proved.
"""

from typing import Final

import attrs

from turnlatch_states.api.faults import SUSPENDING, FaultKind, RetryPolicy
from turnlatch_states.machine.doubt import (
    ALTERNATIONS,
    LASTING,
    RULES,
    SUSPECT_AFTER,
    SUSPECT_AFTER_NO,
    doubt_of,
)
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.decisions import (
    BisectHistory,
    ChangeRequest,
    Decision,
    PingServer,
    Suspend,
    WaitThenRetry,
)
from turnlatch_states.recovery.rung import Failure, Rung
from turnlatch_states.request.build import Copy, container
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.view import DropField

SUMMARY_ATTEMPTS_MAX: Final = 3
"""Requests in a row for one summary that may fail for a reason that may pass."""

FOUND_BY_SEARCH: Final = (Remedy.MAKE_ROOM, Remedy.DROP_FIELD)
"""What a search may find to blame instead of a part of the conversation: the length, or
the hints that the engine adds to requests."""

_RETRY: Final = RetryPolicy()
_SUSPECTED: Final = (
    f"from the {SUSPECT_AFTER}th equal failure in a row on, over all turns (from the"
    f" {SUSPECT_AFTER_NO}nd if the answer says that it will stay)"
)


def has_parts(failure: Failure) -> bool:
    """True if the request holds anything but the words that were just said."""
    return len(failure.snapshot.history) > 0 or bool(failure.turn.calls)


def _recall(failure: Failure) -> Decision | None:
    found, fault = failure.snapshot.found, failure.fault
    if found is None or not found.of(fault) or failure.hint_exceeds(fault):
        return None
    if doubt_of(failure.snapshot.doubts, fault) is None:
        return None
    if found.view == failure.snapshot.showing:
        return None  # it was proposed in this turn, and has just failed
    why = "it last passed so, and with everything it still fails"
    return failure.lent(ChangeRequest(Remedy.RECALL, why, found.view))


def _wait(failure: Failure) -> Decision | None:
    wait = failure.backoff()
    return None if wait is None else WaitThenRetry(wait)


def _wait_unsuspecting(failure: Failure) -> Decision | None:
    return _wait(failure) if failure.doubt is None else None


def _replay(failure: Failure) -> Decision | None:
    if failure.doubt is None or failure.turn.copy is not Copy.CONTINUE:
        return None
    return failure.lent(failure.change(Remedy.REPLAY))


def drop_container(failure: Failure) -> ChangeRequest | None:
    """Leave out the container that the server may no longer hold."""
    snapshot, fault = failure.snapshot, failure.fault
    held = snapshot.profile.setting("container")
    held = held or container(snapshot.profile, snapshot.history)
    op = DropField("container")
    if held is None or op in snapshot.showing.ops:
        return None
    if fault.kind is FaultKind.INVALID and fault.status not in (404, 410):
        said = fault.message.lower()
        if "container" not in said and str(held).lower() not in said:
            return None
    made = failure.change(Remedy.DROP_FIELD, snapshot.showing.adding(op))
    return made if failure.doubt is None else failure.lent(made)


def _drop_container(failure: Failure) -> Decision | None:
    return None if failure.doubt is None else drop_container(failure)


def _probe(failure: Failure) -> Decision | None:
    doubt = failure.doubt
    if doubt is None:
        return None
    if doubt.well is None:
        asks = has_parts(failure) or failure.fault.status == 403
        return PingServer(failure.pause()) if asks else None
    if not doubt.well:
        return None if _locked_out(failure) else _wait(failure)
    if doubt.alternations >= RULES[failure.fault.kind].alternations:
        return None
    why = "the short request passed: the full one is sent once more"
    return ChangeRequest(Remedy.PROBE, why)


def search_suspected(failure: Failure) -> BisectHistory | None:
    """Search for the part, once enough short requests passed where the full one fails."""
    doubt = failure.doubt
    if doubt is None or failure.tried(Remedy.BISECT) or not has_parts(failure):
        return None
    needed = RULES[failure.fault.kind].alternations
    proved = not needed or (doubt.well and doubt.alternations >= needed)
    return BisectHistory() if proved else None


def _locked_out(failure: Failure) -> bool:
    """True for a 403 that is not the API's own, and that a short request met, too."""
    doubt, fault = failure.doubt, failure.fault
    return (
        doubt is not None
        and doubt.well is False
        and doubt.alike
        and fault.status == 403
        and fault.kind is FaultKind.TRANSIENT
    )


def _suspend(failure: Failure) -> Decision | None:
    fault = failure.fault
    if fault.kind in SUSPENDING:
        return Suspend(fault.message)
    if _locked_out(failure):
        why = (
            "a proxy or filter answers 403 in the API's place, whatever is sent: check"
            f" the network, the base URL and the access ({fault.message})"
        )
        auth = attrs.evolve(fault, kind=FaultKind.AUTH, message=why)
        return Suspend(why, None, auth)
    hint = failure.fault_with_hint.hint
    if hint is None or not failure.hint_exceeds(failure.fault_with_hint):
        return None
    return Suspend(f"the server asks to wait {hint:g} s", hint)


RECALL: Final = Rung(
    Remedy.RECALL,
    _recall,
    1,
    f"only if a search has found a view that passed; after {LASTING} proofs it stays",
)
WAIT: Final = Rung(
    Remedy.WAIT,
    _wait_unsuspecting,
    note=f"at most {_RETRY.attempts_max} failures in a row,"
    f" {_RETRY.first_wait_seconds:g} to {_RETRY.wait_max_seconds:g} s apart, until a rung"
    " below has something to find out",
)
REPLAY_SUSPECTED: Final = Rung(
    Remedy.REPLAY, _replay, 1, f"if the request continued a thread; {_SUSPECTED}"
)
DROP_CONTAINER_SUSPECTED: Final = Rung(
    Remedy.DROP_FIELD,
    _drop_container,
    note=f"once, the container, if there is one; {_SUSPECTED}",
)
PROBE: Final = Rung(
    Remedy.PROBE,
    _probe,
    note=f"{_SUSPECTED}; up to {ALTERNATIONS} times while the short one passes, because"
    " once is luck; while both fail, it waits as above",
)
SEARCH_SUSPECTED: Final = Rung(
    Remedy.BISECT,
    search_suspected,
    1,
    f"after {ALTERNATIONS} such alternations; each trial counts as a request",
    FOUND_BY_SEARCH,
)
SEARCH_DECLINED: Final = Rung(
    Remedy.BISECT,
    search_suspected,
    1,
    f"from refusal {RULES[FaultKind.REFUSAL].after} in a row on; each trial counts as a"
    " request",
    FOUND_BY_SEARCH,
)
SUSPEND: Final = Rung(
    Remedy.SUSPEND,
    _suspend,
    note=f"if the server asks to wait longer than {_RETRY.hint_max_seconds:g} s, or if a"
    " proxy answers 403 to the short request, too",
)
SUSPEND_AT_ONCE: Final = Rung(
    Remedy.SUSPEND, _suspend, note="nothing is sent until then, however long it takes"
)
WAIT_AT_LAST: Final = Rung(
    Remedy.WAIT,
    _wait,
    note="as above, once nothing is left to find out; never if the server says not to"
    " retry",
)

PROVE: Final = (REPLAY_SUSPECTED, DROP_CONTAINER_SUSPECTED, PROBE, SEARCH_SUSPECTED)
"""Finding out whether the conversation itself is the cause; each costs one pause."""


# A request for a summary.


def _wait_for_summary(failure: Failure) -> Decision | None:
    return _wait(failure) if failure.turn.failures < SUMMARY_ATTEMPTS_MAX else None


def _skip(failure: Failure) -> Decision | None:
    turn, fault = failure.turn, failure.fault
    prompted = turn.compacting is not None and turn.compacting.method is Method.TOLD
    if not prompted and failure.tried(Remedy.SKIP):
        return None
    if turn.purpose is Purpose.COMPACTION:
        # The caller asked for a summary. Another method does not help if the cause is
        # external, and the prompted one is the last method.
        exhausted = turn.failures >= SUMMARY_ATTEMPTS_MAX
        passing = fault.kind is FaultKind.TRANSIENT and (
            not exhausted or failure.hint_exceeds(failure.fault_with_hint)
        )
        if prompted or passing or fault.kind in SUSPENDING:
            return None
    return failure.change(Remedy.SKIP)


SKIP: Final = Rung(
    Remedy.SKIP,
    _skip,
    2,
    "the server's own summary, then the prompted one; a summary that compact() asked for"
    " is tried in the other way instead, and waited for if the failure may pass",
)
WAIT_FOR_SUMMARY: Final = Rung(
    Remedy.WAIT,
    _wait_for_summary,
    note=f"until {SUMMARY_ATTEMPTS_MAX} requests for it failed in a row",
)
