"""Judging how a client repeats requests: too soon, too often, in vain, or never."""

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from turnlatch.testing.defects import (
    BACKOFF_SECONDS_MIN,
    HINT_SECONDS_MAX,
    READ_SECONDS_MAX,
    STORM,
    Defect,
    DefectKind,
)
from turnlatch.testing.observed import Arrival, ObservedRequest

Dialogue: TypeAlias = Sequence[ObservedRequest]

_OWN_FAULT = frozenset({400, 404, 413, 422})
"""Refusals that the bytes of the request are to blame for. An account (401 to 403) can be
put right by a person meanwhile."""


def illegal_requests(dialogue: Dialogue) -> Iterator[Defect]:
    """Requests that a correct client does not send."""
    for one in dialogue:
        if one.illegal is not None:
            said = f"{one.illegal.status} {one.illegal.message}"
            text = f"request {one.number} is refused by the rules: {said}"
            yield Defect(DefectKind.ILLEGAL_REQUEST, (one.number,), text)


def hints_ignored(dialogue: Dialogue) -> Iterator[Defect]:
    """Requests that came before the end of the wait that the server asked for."""
    for one, then in itertools.pairwise(dialogue):
        hint = one.retry_after
        if one.last or hint is None or not one.may_pass or hint > HINT_SECONDS_MAX:
            continue
        waited = _pause(one, then)
        # A timer may fire a little early; a client that reads the header does not.
        if waited < 0.9 * hint and _asks_again(one, then):
            text = (
                f"request {then.number} came {waited:.1f} s after request {one.number},"
                f" which was answered {one.status} with retry-after={hint:g}"
            )
            numbers = (one.number, then.number)
            yield Defect(DefectKind.RETRY_AFTER_IGNORED, numbers, text)


def refusals_retried(dialogue: Dialogue) -> Iterator[Defect]:
    """Requests that were sent again, byte for byte, after a definite refusal."""
    for one, then in itertools.pairwise(dialogue):
        definite = one.status in _OWN_FAULT and not (one.may_pass or one.last)
        if definite and one.illegal is None and one.same_request(then):
            text = (
                f"request {then.number} repeats request {one.number}, which was refused"
                f" with {one.status}"
            )
            numbers = (one.number, then.number)
            yield Defect(DefectKind.RETRIED_DEFINITE_REFUSAL, numbers, text)


def storms(dialogue: Dialogue) -> Iterator[Defect]:
    """The same request, failing, more often than a server should have to bear."""
    for run in _runs(dialogue):
        if len(run) > STORM:
            text = (
                f"request {run[0].number} was sent {len(run)} times in a row, and failed"
                f" {sum(one.failed for one in run)} times"
            )
            numbers = (run[0].number, run[-1].number)
            yield Defect(DefectKind.RETRY_STORM, numbers, text)


def hasty_retries(dialogue: Dialogue) -> Iterator[Defect]:
    """Two retries in a row without a pause. Once is fine: a dropped connection."""
    for run in _runs(dialogue):
        hasty = [
            one.may_pass and _pause(one, then) < BACKOFF_SECONDS_MIN
            for one, then in itertools.pairwise(run)
        ]
        for place in range(1, len(hasty)):
            if hasty[place] and hasty[place - 1]:
                numbers = tuple(one.number for one in run[place - 1 : place + 2])
                text = (
                    f"requests {_listed(numbers)} followed each other without a pause"
                )
                yield Defect(DefectKind.NO_BACKOFF, numbers, text)
                break


def given_up(dialogue: Dialogue) -> Iterator[Defect]:
    """Requests that failed for a reason that may pass and were never sent again."""
    for place, one in enumerate(dialogue):
        if not one.may_pass or one.illegal is not None or one.last:
            continue
        if (one.retry_after or 0.0) > HINT_SECONDS_MAX:
            continue
        if one.body.get("compaction") is not None:
            continue  # the client can do without a summary
        others = [*dialogue[:place], *dialogue[place + 1 :]]
        if not any(_asks_again(one, other) for other in others):
            how = f"{one.status}" if one.status >= 400 else "a broken answer"
            text = f"request {one.number} failed with {how} and was never sent again"
            yield Defect(DefectKind.GAVE_UP, (one.number,), text)


def endless_waits(dialogue: Dialogue) -> Iterator[Defect]:
    """Answers that stopped, and that the client waited for without a limit."""
    for one in dialogue:
        if not one.stalled or one.last:
            continue
        if one.left_at is None or one.left_at - one.at > READ_SECONDS_MAX:
            waits = "is still waiting" if one.left_at is None else "waited too long"
            text = f"request {one.number}: the answer stopped, and the client {waits}"
            yield Defect(DefectKind.NO_READ_TIMEOUT, (one.number,), text)


def _pause(one: ObservedRequest, then: ObservedRequest) -> float:
    """Seconds between the end of an exchange and the next request."""
    return then.at - (one.at if one.left_at is None else min(one.left_at, then.at))


def _asks_again(one: ObservedRequest, other: ObservedRequest) -> bool:
    """True if the other request carries what the first one asked."""
    if not one.messages:
        return False
    last = len(one.messages) - 1
    asked = one.messages[last]
    return any(
        asked.role == message.role
        and all(block in message.content for block in asked.content)
        for message in other.messages[max(0, last - 1) :]
    )


def _runs(dialogue: Dialogue) -> Iterator[Dialogue]:
    """Series of equal requests in which all but the last failed."""
    run: list[ObservedRequest] = []
    for one in dialogue:
        if run and not (run[-1].failed and run[-1].same_request(one)):
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _listed(numbers: Sequence[int]) -> str:
    *first, last = (str(one) for one in numbers)
    return f"{', '.join(first)} and {last}" if first else last


def cut(one: ObservedRequest) -> bool:
    """True if a part of a reply was sent, and the rest was not."""
    return one.arrival is Arrival.CUT
