"""The ladders: for each kind of fault, the rungs in the order in which they are tried.

`decide` walks these objects, `turnlatch explain` prints them, and docs/design.md has their
table. At each failure the first rung that applies is taken, from the top. Every rung waits
or changes the request; none repeats a request that met a definite refusal. After the last
rung the turn rests in `failed`, with its reason, its history unchanged and its input
staged. The budget of the turn bounds the whole.
"""

from collections.abc import Mapping
from typing import Final, final

import attrs

from turnlatch_states.api.faults import FaultKind, optional_field
from turnlatch_states.api.models import prefix_bound, spec
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.machine.server_copy import without_copy
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.recovery.context_window import (
    CONTEXT_LADDER,
    RECORD_BYTES,
    boundary,
)
from turnlatch_states.recovery.decisions import BisectHistory, ChangeRequest
from turnlatch_states.recovery.omit import (
    FLATTEN_NAMED,
    HIDE_NAMED,
    RENAME_CALLS,
    SHRINK_NAMED,
    STUB_FILES,
    STUB_NAMED,
    changes,
    place_unknown,
)
from turnlatch_states.recovery.rung import Failure, Rung, unbound
from turnlatch_states.recovery.suspicion import (
    DROP_CONTAINER_SUSPECTED,
    FOUND_BY_SEARCH,
    PROBE,
    PROVE,
    RECALL,
    REPLAY_SUSPECTED,
    SEARCH_DECLINED,
    SKIP,
    SUSPEND,
    SUSPEND_AT_ONCE,
    WAIT,
    WAIT_AT_LAST,
    WAIT_FOR_SUMMARY,
    drop_container,
    has_parts,
    search_suspected,
)
from turnlatch_states.request.build import Copy
from turnlatch_states.request.history import Method
from turnlatch_states.request.view import (
    BINDING_BETA,
    COMPACT_BETA,
    DropBeta,
    DropBound,
    DropField,
    Flatten,
    IgnoreBase,
    Op,
    StripThinking,
)

RAISED_MAX: Final = 128_000
"""The highest limit that is set for a reply which was cut off."""


# The server's copy.


def _replay(failure: Failure) -> ChangeRequest | None:
    if failure.doubt is not None and failure.turn.copy is Copy.CONTINUE:
        return failure.lent(failure.change(Remedy.REPLAY))
    chosen = without_copy(failure.turn, failure.fault)
    return failure.change(Remedy.REPLAY) if chosen is Remedy.REPLAY else None


def _unthread(failure: Failure) -> ChangeRequest | None:
    chosen = without_copy(failure.turn, failure.fault)
    return failure.change(Remedy.UNTHREAD) if chosen is Remedy.UNTHREAD else None


REPLAY: Final = Rung(Remedy.REPLAY, _replay, 1, "if the request continued a thread")
UNTHREAD: Final = Rung(
    Remedy.UNTHREAD, _unthread, 1, "if the request began or continued a thread"
)
DROP_CONTAINER: Final = Rung(
    Remedy.DROP_FIELD,
    drop_container,
    note="once, the container: if it is named, or the answer is a 404 or 410",
)


# Named parts.


def _drop_field(failure: Failure) -> ChangeRequest | None:
    snapshot, name = failure.snapshot, optional_field(failure.fault.message)
    if name is None:
        return None
    op: Op = DropField(name)
    if name.startswith("anthropic-beta:"):
        op = DropBeta(name.partition(":")[2])
    if op in snapshot.showing.ops:
        return None
    view = snapshot.showing.adding(op)
    base = snapshot.base
    if op == DropBeta(COMPACT_BETA) and base and base.method is Method.SIGNED:
        # The server's summary must not be sent without this beta.
        view = view.adding(IgnoreBase(base.covers), *unbound(snapshot))
    if not changes(snapshot, failure.turn, view):
        return None  # the field was never sent: the name stands for something else
    return failure.change(Remedy.DROP_FIELD, view)


def _names_summary(failure: Failure) -> bool:
    """True if the path that is named points into the summary of the first exchanges."""
    snapshot, fault = failure.snapshot, failure.fault
    if not snapshot.covered or not fault.path or snapshot.base is None:
        return False
    part, _, place = fault.path.partition(".")
    return part == "messages" and int(place.split(".")[0]) < snapshot.base.size


def _ignore_summary(failure: Failure) -> ChangeRequest | None:
    covered = failure.snapshot.covered
    if not covered:
        return None
    return failure.change(Remedy.IGNORE_BASE, failure.view_with(IgnoreBase(covered)))


def _ignore_named_summary(failure: Failure) -> ChangeRequest | None:
    return _ignore_summary(failure) if _names_summary(failure) else None


DROP_NAMED_FIELD: Final = Rung(
    Remedy.DROP_FIELD, _drop_field, note="each field and each beta once"
)
IGNORE_SUMMARY: Final = Rung(Remedy.IGNORE_BASE, _ignore_summary, note="once a summary")
IGNORE_NAMED_SUMMARY: Final = Rung(
    Remedy.IGNORE_BASE,
    _ignore_named_summary,
    note="once a summary, if the part that is named is in it",
)


# Thinking.


def _drop_bound(failure: Failure) -> ChangeRequest | None:
    """The API's own control for thinking that it cannot place."""
    snapshot, view = failure.snapshot, failure.snapshot.showing
    if BINDING_BETA in view.unnamed or view.drops_bound:
        return None
    if not prefix_bound(snapshot.profile.model):
        return None
    return failure.change(Remedy.DROP_BOUND, view.adding(DropBound()))


def _strip(failure: Failure) -> ChangeRequest | None:
    snapshot, closed = failure.snapshot, boundary(failure.snapshot)
    if not closed or closed != len(snapshot.history):
        return None  # thinking is never stripped inside an open tool turn
    stripped = snapshot.showing.adding(StripThinking(closed))
    if not changes(snapshot, failure.turn, stripped):
        return None
    return failure.change(Remedy.STRIP, stripped)


def _flatten_thinking(failure: Failure) -> ChangeRequest | None:
    """The open tool turn as a record, so that its thinking goes as a whole."""
    snapshot, closed = failure.snapshot, boundary(failure.snapshot)
    if not failure.turn.calls:
        return None
    strip = (StripThinking(closed),) if closed else ()
    flat = Flatten(closed, len(snapshot.history), RECORD_BYTES * 8)
    view = snapshot.showing.adding(*strip, flat)
    if not changes(snapshot, failure.turn, view):
        return None
    return failure.change(Remedy.FLATTEN, view)


_THINKING: Final = (
    Rung(
        Remedy.DROP_BOUND,
        _drop_bound,
        note="once, on models that bind thinking to the messages before it",
    ),
    Rung(Remedy.STRIP, _strip, note="once, if no turn with calls is open"),
    Rung(
        Remedy.FLATTEN,
        _flatten_thinking,
        note="once, if the turn has calls: their thinking goes as a whole",
    ),
)


# A reply that was cut off.


def raised(snapshot: Snapshot, turn: Turn) -> int | None:
    """A higher limit for a reply that was cut off in a call; None if none is left."""
    if RAISE.at_most is not None and turn.tried.count(RAISE.remedy) >= RAISE.at_most:
        return None
    known = spec(snapshot.profile.model)
    most = min(known.output_max if known is not None else RAISED_MAX, RAISED_MAX)
    now = turn.max_tokens or snapshot.profile.max_tokens
    more = min(now * 4, most)
    return more if more > now else None


def _raise(failure: Failure) -> ChangeRequest | None:
    more = raised(failure.snapshot, failure.turn)
    return None if more is None else failure.change(Remedy.RAISE, max_tokens=more)


RAISE: Final = Rung(
    Remedy.RAISE, _raise, 1, f"four times the limit, at most {RAISED_MAX:,} tokens"
)


# Searching.


def _search_unnamed(failure: Failure) -> BisectHistory | None:
    """A search if nothing is named. One refusal may be an outage, a filter, or what was
    just said, so it takes two in a row."""
    if failure.snapshot.refused <= 1 or not place_unknown(failure):
        return None
    return BisectHistory()


def _search_invalid(failure: Failure) -> BisectHistory | None:
    suspected = search_suspected(failure)
    if suspected is not None or failure.snapshot.refused <= 1:
        return suspected
    return BisectHistory()


def _search_mistaken(failure: Failure) -> BisectHistory | None:
    if failure.snapshot.refused <= 1 or not has_parts(failure):
        return None
    return BisectHistory()


_TWICE: Final = (
    "from the second refusal in a row on; the second search does not count tokens, it"
    " sends; each trial counts as a request"
)
SEARCH_UNNAMED: Final = Rung(Remedy.BISECT, _search_unnamed, 2, _TWICE, FOUND_BY_SEARCH)
SEARCH_INVALID: Final = Rung(
    Remedy.BISECT,
    _search_invalid,
    2,
    f"{_TWICE}; where a proxy answers in the API's place, only after the probes",
    FOUND_BY_SEARCH,
)
SEARCH_MISTAKEN: Final = Rung(
    Remedy.BISECT,
    _search_mistaken,
    1,
    "if nothing above helped, from the second refusal in a row on: filters refuse a part"
    " in the words of something else; each trial counts as a request",
    FOUND_BY_SEARCH,
)


# The table.


@final
@attrs.frozen
class Ladder:
    """The reaction to one kind of fault.

    Attributes:
        kind: The kind.
        rungs: The rungs for a failed message, from the top.
        summary: The rungs for a failed request for a summary.
        afterwards: The next step for a person once no rung is left, in words.
    """

    kind: FaultKind
    rungs: tuple[Rung, ...]
    summary: tuple[Rung, ...]
    afterwards: str


WITHOUT_COPY: Final = (REPLAY, UNTHREAD)
"""The first rungs after a definite refusal: it may concern what the server keeps."""

NAMED: Final = (*WITHOUT_COPY, IGNORE_NAMED_SUMMARY)

_K = FaultKind
_WORLD: Final = (RECALL, *PROVE, SUSPEND_AT_ONCE)
_SKIP: Final = (SKIP,)
_SKIP_OR_SUSPEND: Final = (SKIP, SUSPEND_AT_ONCE)

_TABLE: Final[tuple[Ladder, ...]] = (
    Ladder(
        _K.TRANSIENT,
        (RECALL, WAIT, *PROVE, SUSPEND, WAIT_AT_LAST),
        (WAIT_FOR_SUMMARY, SKIP, SUSPEND),
        "retry() later, or send() something else; nothing is left out because of an"
        " outage",
    ),
    Ladder(
        _K.OPTIONAL_FIELD,
        (*NAMED, DROP_NAMED_FIELD, SEARCH_MISTAKEN),
        _SKIP,
        "change the setting that is named, then retry()",
    ),
    Ladder(_K.THREAD, (*NAMED, SEARCH_MISTAKEN), _SKIP, "retry()"),
    Ladder(
        _K.TOO_LONG,
        (*NAMED, *CONTEXT_LADDER, SEARCH_MISTAKEN),
        _SKIP,
        "send() something shorter, or rewind()",
    ),
    Ladder(
        _K.BLOCK,
        (
            *NAMED,
            RENAME_CALLS,
            STUB_FILES,
            STUB_NAMED,
            SHRINK_NAMED,
            HIDE_NAMED,
            FLATTEN_NAMED,
            SEARCH_UNNAMED,
        ),
        _SKIP,
        "send() it without the block that is named",
    ),
    Ladder(
        _K.THINKING,
        (*NAMED, *_THINKING, SEARCH_MISTAKEN),
        _SKIP,
        "rewind() to before the turn whose thinking is refused",
    ),
    Ladder(
        _K.INVALID,
        (
            RECALL,
            *WITHOUT_COPY,
            DROP_CONTAINER,
            IGNORE_NAMED_SUMMARY,
            RENAME_CALLS,
            STUB_FILES,
            PROBE,
            SEARCH_INVALID,
        ),
        _SKIP,
        "read the message; send() something else, or rewind()",
    ),
    Ladder(
        _K.COMPACTION,
        (IGNORE_SUMMARY, SEARCH_MISTAKEN),
        _SKIP,
        "go on as before: the old context is in force",
    ),
    Ladder(
        _K.CUT_OFF,
        (RAISE,),
        _SKIP,
        "configure(max_tokens=...) with more, then retry()",
    ),
    Ladder(
        _K.AUTH,
        _WORLD,
        _SKIP_OR_SUSPEND,
        "configure(client=...) with good credentials, or have the account allowed what"
        " the message names; then retry()",
    ),
    Ladder(
        _K.BILLING,
        _WORLD,
        _SKIP_OR_SUSPEND,
        "restore the credit or raise the limit, then retry()",
    ),
    Ladder(
        _K.MODEL_GONE,
        _WORLD,
        _SKIP_OR_SUSPEND,
        "configure(model=...) with a successor, then retry()",
    ),
    Ladder(
        _K.REFUSAL,
        (RECALL, REPLAY_SUSPECTED, DROP_CONTAINER_SUSPECTED, SEARCH_DECLINED),
        _SKIP,
        "send() it in other words; where an earlier part is declined, the second refusal"
        " in a row has it found and left out, and rewind() goes back before it",
    ),
    Ladder(
        _K.OUTPUT,
        (),
        (),
        "retry() asks for it as often again; send() says what the type means",
    ),
    Ladder(_K.TOOL, (), (), "do what the tool says, then retry() or send()"),
    Ladder(_K.LOCAL, (), (), "send() what the API can take"),
    Ladder(_K.BUDGET, (), (), "retry() grants as much again"),
    Ladder(_K.CANCELLED, (), (), "retry(), or send() something else"),
    Ladder(_K.INTERRUPTED, (), (), "retry(), or send() something else"),
)

LADDERS: Final[Mapping[FaultKind, Ladder]] = {one.kind: one for one in _TABLE}
"""The ladder of each kind; a test holds that every kind has one. Where it has no rungs
the turn rests in `failed` at once."""
