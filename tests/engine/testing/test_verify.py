"""Every state within bounds keeps every property, and a bug that is planted in the engine
is found with a shortest trace."""

import inspect
import itertools
import re
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import attrs
import pytest
from tests.around import append_now

from turnlatch.errors import LeaseLostError
from turnlatch.journal import SQLiteStore
from turnlatch.journal.lease import LEASE_SECONDS
from turnlatch.journal.owner import Owner
from turnlatch.ports import Journal
from turnlatch.runtime.unsaved import Kept
from turnlatch.runtime.unsaved import stopping as really_stopping
from turnlatch.testing.verify import (
    CI,
    PROPERTIES,
    Parts,
    VerifyBounds,
    explored,
    report,
    situation,
)
from turnlatch.testing.verify.moves import Moves, start
from turnlatch.testing.verify.process import append as really_append
from turnlatch.testing.verify.situation import (
    FORGOTTEN,
    Stored,
    key,
)
from turnlatch.testing.verify.world import PROFILE, TOOLS
from turnlatch_states.api.faults import FaultKind
from turnlatch_states.effects.call_effects import ToolFacts
from turnlatch_states.effects.effect import REST, Apply, Conditions, Effect, Sleep
from turnlatch_states.effects.next_effect import next_effect
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.load import fold_events
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.step import Step, begin, fold, step
from turnlatch_states.machine.synthetic_results import closed_result
from turnlatch_states.machine.turn import TURN

WIDE = VerifyBounds(turns=2, calls=0, faults=2, crashes=0, writers=0, doubts=0, moves=1)
"""VerifyBounds in which the context is summarised and the caller changes the past."""


def test_every_property_holds_in_every_state_within_the_bounds_of_ci() -> None:
    told: list[int] = []
    found = explored(CI, progress=lambda states, depth, seconds: told.append(states))

    assert found.violation is None
    assert found.whole
    assert found.states >= 35_000
    assert len(told) > 10


def test_every_property_holds_where_much_fails_and_the_caller_changes_the_past() -> (
    None
):
    found = explored(WIDE)

    assert found.violation is None
    assert found.whole
    never = {one.trigger for one in TURN.transitions}
    never -= {row.trigger for row in found.rows}
    assert never == NEVER


NEVER = {"pin", "configure", "fork", "call"}
"""The triggers of the turn's table that these bounds do not reach."""


def test_an_exploration_that_is_stopped_says_that_it_is_not_whole() -> None:
    found = explored(CI, seconds=0.0)

    assert not found.whole
    assert found.violation is None
    assert "Stopped before the end" in report(found)


def test_every_field_of_a_conversation_is_in_the_key_or_forgotten_for_a_reason() -> (
    None
):
    source = inspect.getsource(situation)
    for kind, name in ((Snapshot, "snapshot"), (Turn, "turn")):
        for field in attrs.fields(kind):
            named = re.search(rf"\b{name}\.{field.name}\b", source) is not None
            assert named or field.name in FORGOTTEN, field.name


def test_states_with_one_key_have_the_same_moves() -> None:
    """Of the states that are reached in several ways, every way is gone on from."""
    bounds = of(calls=1, faults=1, crashes=1)
    moves, seen = Moves(), dict[Hashable, frozenset[tuple[str, int]]]()
    queue, twice = deque([start(bounds)]), 0
    while queue and twice < 300:
        at = queue.popleft()
        made = [(words, make()) for words, make in moves(at)]
        leads = frozenset((words, hash(key(after))) for words, after in made)
        known = key(at)
        if known in seen:
            twice += 1
            assert seen[known] == leads
            continue
        seen[known] = leads
        queue.extend(after for _, after in made)
    assert twice == 300


def test_an_append_of_the_model_does_what_one_of_a_store_does(tmp_path: Path) -> None:
    """Every order of openings, and of appends by the first writer and by the last."""
    for number, order in enumerate(
        itertools.product(("open", "first", "last"), repeat=3)
    ):
        path, now = tmp_path / f"{number}.db", [0.0]
        model, epochs = Stored((), begin(OPENED)), list[int]()
        with ExitStack() as opened:
            journals: list[Journal] = []
            store = store_of(path, 0, partial(now.__getitem__, 0))
            opened.callback(store.close)
            for one in ("open", *order):
                if one == "open":
                    now[0] += LEASE_SECONDS + 1  # the last lease is over
                    store = store_of(
                        path, len(journals) + 1, partial(now.__getitem__, 0)
                    )
                    opened.callback(store.close)
                    journals.append(store.open("a"))
                    model = model._replace(epoch=model.epoch + 1)
                    epochs.append(model.epoch)
                    continue
                at = 0 if one == "first" else -1
                after = really_append(model, epochs[at], (OPENED,))
                if after is None:
                    with pytest.raises(LeaseLostError):
                        append_now(journals[at], (OPENED,))
                else:
                    append_now(journals[at], (OPENED,))
                    model = after
            assert [row.event for row in store.read("a")] == list(model.rows)


def store_of(path: Path, number: int, clock: Callable[[], float]) -> SQLiteStore:
    """A store as another process on another host opens it."""
    owner = Owner("elsewhere", number + 1, "1", "boot")
    return SQLiteStore(path, clock=clock, uptime=clock, owner=owner, renew=False)


OPENED = ev.ConversationOpened(PROFILE)


# Planted bugs: each is one of the engine's functions with a fault in it.


def commits_what_failed(snapshot: Snapshot, event: Event) -> Step:
    made = step(snapshot, event)
    if not isinstance(event, ev.TurnFailed) or made.snapshot.turn is None:
        return made
    turn = attrs.evolve(made.snapshot.turn, number=made.snapshot.turn.number)
    grown = attrs.evolve(made.snapshot, turn=turn, spent=snapshot.spent + _USAGE)
    return attrs.evolve(made, snapshot=grown)


_USAGE = Turn(1, "pending").usage.__class__(input=1)


def forgets_a_call(snapshot: Snapshot, event: Event) -> Step:
    made = step(snapshot, event)
    turn = made.snapshot.turn
    if not isinstance(event, ev.ReplyConfirmed) or turn is None:
        return made
    shorter = attrs.evolve(turn, calls=turn.calls[:1])
    return attrs.evolve(made, snapshot=attrs.evolve(made.snapshot, turn=shorter))


def sends_without_preparing(snapshot: Snapshot, given: Conditions) -> Effect:
    turn = snapshot.turn
    if turn is not None and turn.state == "pending":
        return Apply((ev.RequestSent(turn.number, turn.attempt + 1),))
    return next_effect(snapshot, given)


def believes(effect: str, *names: str) -> Callable[[Snapshot, Conditions], Effect]:
    """Decides as if some tools had promised something else."""
    tools = {**TOOLS, **dict.fromkeys(names, ToolFacts(effect))}

    def decide(snapshot: Snapshot, given: Conditions) -> Effect:
        return next_effect(snapshot, attrs.evolve(given, tools=tools))

    return decide


def gives_up_what_runs(
    snapshot: Snapshot, why: str, kind: FaultKind
) -> tuple[Event, ...]:
    events = really_stopping(snapshot, why, kind)
    return (ev.TurnAbandoned(snapshot.turns),) if events else ()


def decides_for_ever(snapshot: Snapshot, given: Conditions) -> Effect:
    turn = snapshot.turn
    if turn is not None and turn.fault is not None:
        return Apply(())
    return next_effect(snapshot, given)


def blocks_what_follows_a_refusal(snapshot: Snapshot, given: Conditions) -> Effect:
    if snapshot.refused and snapshot.state == "pending":
        return REST
    return next_effect(snapshot, given)


def waits_for_ever(snapshot: Snapshot, given: Conditions) -> Effect:
    turn = snapshot.turn
    if turn is not None and turn.due is not None:
        return Sleep(1.0)
    return next_effect(snapshot, given)


def says_it_did_not_happen(
    snapshot: Snapshot, tools: Mapping[str, ToolFacts]
) -> list[Event]:
    turn = snapshot.turn
    return [
        ev.CallClosed(
            snapshot.turns,
            call.use.id,
            Closing.NOT_EXECUTED,
            closed_result(call.use.id, "Not executed."),
        )
        for call in (() if turn is None else turn.open_calls)
        if call.state == "started"
    ]


def writes_without_a_lease(
    stored: Stored, epoch: int, events: Sequence[Event]
) -> Stored | None:
    return really_append(stored, stored.epoch, events)


def forgets_to_write(
    stored: Stored, epoch: int, events: Sequence[Event]
) -> Stored | None:
    found = really_append(stored, epoch, events)
    return None if found is None else found._replace(rows=found.rows[:-1])


def numbers_wrongly(kept: Kept) -> Kept:
    told = Kept.recorded(kept)
    moved = tuple((sequence + 1, one) for sequence, one in told.untold)
    return attrs.evolve(told, untold=moved)


def loses_steered_messages(snapshot: Snapshot, event: Event) -> Snapshot:
    after = fold(snapshot, event)
    if isinstance(event, ev.Steered):
        return attrs.evolve(after, said=snapshot.said)
    return after


def shortens(stored: Stored) -> Stored:
    rows = stored.rows[:-1] if len(stored.rows) > 3 else stored.rows
    return stored._replace(rows=rows, replayed=fold_events(rows), told=0)


def never_finds_it(kept: Kept, found: Sequence[Event]) -> Kept | None:
    return Kept.looked_up(kept, ())


def keeps_refused_intents(kept: Kept) -> Kept:
    return kept.recorded()


def one_key_for_all(snapshot: Snapshot, given: Conditions) -> Effect:
    effect = next_effect(snapshot, given)
    announced = tuple(
        attrs.evolve(one, key="k") if isinstance(one, ev.CallStarted) else one
        for one in effect.announces
    )
    return attrs.evolve(effect, announces=announced)


def of(**changes: int) -> VerifyBounds:
    """VerifyBounds with nothing but what is named, and one turn."""
    return VerifyBounds(
        **{**dict.fromkeys(VerifyBounds._fields, 0), "turns": 1, **changes}
    )


def both(bug: Callable[[Snapshot, Event], Step]) -> Parts:
    """The same bug while running and while loading."""
    return Parts(step=bug, fold=lambda snapshot, event: bug(snapshot, event).snapshot)


PLANTED: Mapping[str, tuple[str, int, VerifyBounds, Parts]] = {
    "a failed request is counted as confirmed usage": (
        "commits",
        4,
        of(faults=1),
        Parts(step=commits_what_failed),
    ),
    "an interrupt gives up a turn that runs": (
        "legal",
        4,
        of(moves=1),
        Parts(stopping=gives_up_what_runs),
    ),
    "a failure is decided about for ever": (
        "progress",
        4,
        of(faults=1),
        Parts(next_effect=decides_for_ever),
    ),
    "only the first call of a reply is kept": (
        "pairs",
        7,
        of(calls=2),
        both(forgets_a_call),
    ),
    "a server tool that never ended is sent": (
        "accepted",
        7,
        of(calls=1, faults=1),
        Parts(next_effect=sends_without_preparing),
    ),
    "an append forgets its last event": (
        "replay",
        3,
        of(),
        Parts(append=forgets_to_write),
    ),
    "a payment counts as a tool that only reads": (
        "once",
        10,
        of(calls=1, crashes=1),
        Parts(next_effect=believes("safe", "pay", "post")),
    ),
    "nobody is asked about a call": (
        "approved",
        5,
        of(calls=1),
        Parts(next_effect=believes("once", "ask")),
    ),
    "a lost call is told as not executed": (
        "truth",
        8,
        of(calls=1, crashes=1),
        Parts(lost_calls=says_it_did_not_happen),
    ),
    "an append does not ask for the epoch": (
        "fenced",
        3,
        of(writers=1),
        Parts(append=writes_without_a_lease),
    ),
    "watchers are told wrong cursors": (
        "told",
        3,
        of(),
        Parts(recorded=numbers_wrongly),
    ),
    "a steered message is lost on loading": (
        "replay",
        5,
        of(moves=1),
        Parts(fold=loses_steered_messages),
    ),
    "opening shortens the journal": (
        "kept",
        7,
        of(crashes=1),
        Parts(reopened=shortens),
    ),
    "an append in doubt is taken for one that failed": (
        "intent",
        4,
        of(doubts=1),
        Parts(looked_up=never_finds_it),
    ),
    "a failed append counts as recorded": (
        "replay",
        5,
        of(doubts=1),
        Parts(refused=keeps_refused_intents),
    ),
    "two calls are started with one key": (
        "conforms",
        6,
        of(calls=2, crashes=1),
        Parts(next_effect=one_key_for_all),
    ),
    "nothing is sent after a refusal": (
        "dead end",
        7,
        of(faults=1),
        Parts(next_effect=blocks_what_follows_a_refusal),
    ),
    "a wait is followed by a wait": (
        "confirmable",
        4,
        of(faults=1),
        Parts(next_effect=waits_for_ever),
    ),
}
"""By the bug: the property that it breaks, the length of the shortest trace, the bounds."""


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found_with_a_shortest_trace(bug: str) -> None:
    name, length, bounds, parts = PLANTED[bug]
    found = explored(bounds, parts).violation

    assert found is not None
    assert (found.name, len(found.moves)) == (name, length)
    assert explored(bounds).violation is None


def test_each_property_has_a_planted_bug() -> None:
    assert {name for name, *_ in PLANTED.values()} == set(PROPERTIES)
