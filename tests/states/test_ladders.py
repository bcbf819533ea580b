"""The ladders are what is executed: total, taken in the printed order, and documented."""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.states.conversation_strategies import Block, Conversation, conversation_of
from tests.states.recovery_simulator import Recovery, Sent, Service
from tests.states.strategies import text
from tests.states.wordings import PLANS, WORDINGS, in_a_thread, refusing, said

from turnlatch_states.api.faults import DEFINITE, SUSPENDING, Fault, FaultKind
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.doubt import RULES, Doubt, Found
from turnlatch_states.machine.remedy import SAYS, Remedy
from turnlatch_states.recovery.context_window import CONTEXT_LADDER
from turnlatch_states.recovery.decisions import Decision
from turnlatch_states.recovery.ladder import LADDERS, WITHOUT_COPY, Ladder
from turnlatch_states.recovery.rung import Failure, Rung
from turnlatch_states.request.profile import Purpose
from turnlatch_states.request.view import LEFT_OUT, Hide, View

K = FaultKind
TOTAL: tuple[tuple[Mapping[Any, object], type[StrEnum]], ...] = (
    (LADDERS, FaultKind),
    (SAYS, Remedy),
)


# The table.


def missing(table: Mapping[Any, object], kinds: type[StrEnum]) -> set[object]:
    """What has no entry in a table that is to have one for each."""
    known: set[object] = set(kinds.__members__.values())
    return known ^ set(table)


@pytest.mark.parametrize(("table", "kinds"), TOTAL)
def test_the_tables_are_total(
    table: Mapping[Any, object], kinds: type[StrEnum]
) -> None:
    assert missing(table, kinds) == set()


@pytest.mark.parametrize(("table", "kinds"), TOTAL)
def test_an_entry_that_is_missing_is_noticed(
    table: Mapping[Any, object], kinds: type[StrEnum]
) -> None:
    """Planted: each entry in turn is left out, as if it were new and forgotten."""
    for entry in table:
        rest = {key: value for key, value in table.items() if key != entry}
        assert missing(rest, kinds) == {entry}


def test_each_rung_of_a_ladder_is_its_own_and_says_how_often() -> None:
    for kind, ladder in LADDERS.items():
        assert ladder.kind is kind
        assert ladder.afterwards.strip()
        for rungs in (ladder.rungs, ladder.summary):
            assert len({id(rung) for rung in rungs}) == len(rungs)
            for rung in rungs:
                assert rung.often
                assert rung.says == SAYS[rung.remedy]
                assert rung.at_most is None or rung.at_most > 0
        assert bool(ladder.rungs) == bool(ladder.summary), "it rests, or it does not"
        last = ladder.rungs[-1].remedy if ladder.rungs else None
        assert (last is Remedy.SUSPEND) == (kind in SUSPENDING)


def test_a_thread_is_left_before_anything_definite_is_concluded() -> None:
    for kind in DEFINITE:
        rungs = [r for r in LADDERS[kind].rungs if r.remedy is not Remedy.RECALL]
        assert tuple(rungs[: len(WITHOUT_COPY)]) == WITHOUT_COPY


def test_request_that_is_too_long_takes_the_ladder_of_prepared_requests() -> None:
    rungs = LADDERS[K.TOO_LONG].rungs
    first = rungs.index(CONTEXT_LADDER[0])
    assert rungs[first : first + len(CONTEXT_LADDER)] == CONTEXT_LADDER


# The recoveries.


CALL: Block = {"type": "tool_use", "id": "toolu_same", "name": "look", "input": {}}
PAPER: Block = {"type": "document", "source": {"type": "file", "file_id": "file_011"}}


def rich(*, open_: bool, compacts: bool = False) -> Conversation:
    """A conversation with a file, calls that share one id, a server thread and a container."""
    chat = Conversation()
    chat.says(PAPER, text("Read this."))
    for _ in range(2):
        chat.opens(text("Look."))
        chat.sends()
        chat.replies("tool_use", CALL)
        chat.closes(0)
        chat.goes_on()
        chat.sends()
        chat.replies("end_turn", text("Seen."))
    if compacts:
        number = chat.snapshot.turns + 1
        chat.do(ev.TurnOpened(number, b"", None, Purpose.COMPACTION))
    elif open_:
        chat.opens(text("Look."))
        chat.sends()
        chat.replies("tool_use", CALL)
        chat.closes(1)
        chat.goes_on()
    else:
        chat.opens(text("And now?"))
    return in_a_thread(chat)


def faults(kind: FaultKind) -> Iterator[Fault]:
    """Faults of one kind, in the words that its rungs tell apart."""
    yield from (one for one in WORDINGS if one.kind is kind)
    yield said(kind, "messages.0.content.0: bad")
    match kind:
        case K.INVALID:
            yield Fault(kind, "<html>", status=400, foreign=True)
            yield said(kind, "file_011 has expired")
            yield said(kind, "container c_1 has expired")
        case K.TRANSIENT:
            yield Fault(kind, "<html>", status=403)
        case _:
            pass


@cache
def recoveries_from(kind: FaultKind) -> tuple[Recovery, ...]:
    """Recoveries from one kind of fault, from everywhere that its rungs tell apart."""
    made: list[Recovery] = []
    for number, fault in enumerate(faults(kind)):
        open_ = bool(number % 2)
        made.append(Recovery(rich(open_=open_), refusing(fault, "nothing")))
        twice = conversation_of(PLANS[2], (number % 3, number))
        twice.snapshot = attrs.evolve(twice.snapshot, refused=1 + number % 2)
        made.append(Recovery(twice, refusing(fault, "summaries")))
        made.append(Recovery(conversation_of([], (0, 0)), refusing(fault, "small")))
        if kind in RULES:
            made += [Recovery(one, refusing(fault, "trials")) for one in doubted(fault)]
        for compacts in (False, True):
            chat = rich(open_=False, compacts=compacts)
            made.append(Recovery(chat, without_summaries(fault)))
    return tuple(one.run() for one in made)


def doubted(fault: Fault) -> Iterator[Conversation]:
    """Conversations in which the same failure was met before, and a view once passed."""
    doubts = (Doubt(fault.kind, fault.status, 1), Doubt(fault.kind, fault.status, 9))
    for doubt in doubts:
        chat = rich(open_=False)
        view = View((Hide(0, 1, LEFT_OUT),))
        found = Found(view, fault.kind, fault.status) if doubt.met == 1 else None
        chat.snapshot = attrs.evolve(chat.snapshot, doubts=(doubt,), found=found)
        yield chat


def without_summaries(fault: Fault) -> Service:
    """A service that finds every message too long, and fails at every summary."""
    full = said(K.TOO_LONG, "prompt is too long: 213462 tokens > 200000 maximum")

    def service(sent: Sent) -> Fault | None:
        return fault if sent.what in ("summary", "told") else full

    return service


def long_results() -> Recovery:
    """A recovery from refusals that name one long result after the other."""
    chat = Conversation()
    for number in range(8):
        chat.opens(text("Look."))
        chat.sends()
        chat.replies("tool_use", {**CALL, "id": f"toolu_{number}"})
        chat.closes(3)  # with a long result
        chat.goes_on()
        chat.sends()
        chat.replies("end_turn", text("Seen."))
    chat.opens(text("And now?"))

    def service(sent: Sent) -> Fault | None:
        if sent.what != "message":
            return None
        messages = json.loads(sent.body)["messages"]
        for at, message in enumerate(messages):
            if any("long result" in json.dumps(one) for one in message["content"]):
                return said(K.BLOCK, f"messages.{at}.content.0: too much")
        return None

    return Recovery(chat, service).run()


def test_every_rung_of_every_ladder_is_taken() -> None:
    """And every recovery holds its order: `Recovery.run` asserts it (`disorder`)."""
    recoveries = [recovery for kind in FaultKind for recovery in recoveries_from(kind)]
    recoveries.append(long_results())
    taken = {
        (one.fault.kind, one.summary, id(one.rung))
        for recovery in recoveries
        for one in recovery.taken
    }
    assert [
        f"{kind.value}: {'summary: ' * summary}{number} {rung.remedy.value}"
        for kind, ladder in LADDERS.items()
        for summary, rungs in ((False, ladder.rungs), (True, ladder.summary))
        for number, rung in enumerate(rungs, 1)
        if (kind, summary, id(rung)) not in taken
    ] == []


DECIDE = import_module("turnlatch_states.recovery.decide")
SWAPS = (
    (K.TRANSIENT, Remedy.WAIT, Remedy.PROBE),
    (K.TOO_LONG, Remedy.HIDE, Remedy.SQUEEZE),
    (K.BLOCK, Remedy.SHRINK, Remedy.HIDE),
    (K.THINKING, Remedy.DROP_BOUND, Remedy.FLATTEN),
    (K.AUTH, Remedy.PROBE, Remedy.SUSPEND),
)


def swapped(ladder: Ladder, one: Remedy, other: Remedy) -> Ladder:
    """A ladder with the first rungs of two remedies in each other's place."""
    rungs = list(ladder.rungs)
    remedies = [rung.remedy for rung in rungs]
    a, b = remedies.index(one), remedies.index(other)
    rungs[a], rungs[b] = rungs[b], rungs[a]
    return attrs.evolve(ladder, rungs=tuple(rungs))


def recover_again(kind: FaultKind) -> None:
    """Every recovery from one kind of fault, with the ladders that are executed now."""
    recoveries_from.__wrapped__(kind)
    if kind is K.BLOCK:
        long_results()


@pytest.mark.parametrize(("kind", "one", "other"), SWAPS)
def test_the_check_sees_two_rungs_that_are_executed_in_another_order(
    kind: FaultKind, one: Remedy, other: Remedy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: `decide` walks another ladder than the one that is printed."""
    executed = {**LADDERS, kind: swapped(LADDERS[kind], one, other)}
    monkeypatch.setattr(DECIDE, "LADDERS", executed)

    with pytest.raises(AssertionError):
        recover_again(kind)


def test_the_check_sees_a_rung_that_is_taken_more_often_than_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: nobody counts."""

    def uncounted(rung: Rung, failure: Failure) -> Decision | None:
        return rung.propose(failure)

    monkeypatch.setattr(Rung, "decision", uncounted)

    with pytest.raises(AssertionError, match="more often than at most 4 times"):
        long_results()


def test_the_check_sees_a_rung_that_is_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: a rung of another ladder is executed."""
    borrowed = attrs.evolve(LADDERS[K.BILLING], rungs=LADDERS[K.TRANSIENT].rungs)
    monkeypatch.setattr(DECIDE, "LADDERS", {**LADDERS, K.BILLING: borrowed})

    with pytest.raises(AssertionError):
        recoveries_from.__wrapped__(K.BILLING)


# The documents.


DESIGN = Path(__file__).parents[2] / "docs" / "design.md"


def table(ladders: Mapping[FaultKind, Ladder]) -> str:
    """The table of ladders, as docs/design.md has it."""
    lines = [
        "| kind | a message failed | the request for a summary failed |",
        "|---|---|---|",
    ]
    for kind, ladder in ladders.items():
        told = (
            ", ".join(rung.remedy.value for rung in rungs) or "rests at once"
            for rungs in (ladder.rungs, ladder.summary)
        )
        lines.append(f"| {kind.value} | {' | '.join(told)} |")
    lines += ["", "| remedy | what it does |", "|---|---|"]
    lines += [f"| {remedy.value} | {says} |" for remedy, says in SAYS.items()]
    return "\n".join(lines)


def test_the_design_document_has_the_ladders_as_they_are_executed() -> None:
    """Else replace the tables in docs/design.md by what `table(LADDERS)` gives."""
    assert table(LADDERS) in DESIGN.read_text("utf-8")


def test_the_document_is_seen_to_be_out_of_date() -> None:
    """Planted: two rungs are swapped in the code, and not in the document."""
    ladder = swapped(LADDERS[K.TOO_LONG], Remedy.CLAMP, Remedy.HIDE)
    assert table({**LADDERS, K.TOO_LONG: ladder}) not in DESIGN.read_text("utf-8")
