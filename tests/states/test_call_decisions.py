"""What is done about each call is one pure decision: read off a table, and played out."""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain, product
from pathlib import Path
from typing import Any, Final, final

import attrs
import pytest
from tests.states.strategies import PROFILE

import turnlatch
import turnlatch_states
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.effects.call_effects import (
    AskRule,
    CallLimits,
    CheckArguments,
    Ending,
    Read,
    Reconcile,
    Ruling,
    RunCalls,
    ToolFacts,
)
from turnlatch_states.effects.calls import (
    EXPIRED,
    after_run,
    expirations,
    lost_calls,
    never_started,
    next_call_effect,
    start,
    unsettled,
)
from turnlatch_states.effects.effect import Apply, Conditions, Effect, Rest
from turnlatch_states.effects.interpret import interpret
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing, expired
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Call, Snapshot, Turn
from turnlatch_states.machine.step import begin, fold
from turnlatch_states.machine.synthetic_results import closed_result

NOW: Final = 1000.0
GIVEN: Final[Mapping[str, Any]] = {"path": "a"}
OTHER: Final[Mapping[str, Any]] = {"path": "b"}
WRONG: Final = Ending(Closing.ERROR, closed_result("call_0", "wrong"))
FREE: Final = CallLimits(parallel=2)
USED_UP: Final = CallLimits(per_turn=0)

TOOLS: Final[dict[str, ToolFacts | None]] = {
    "none": None,
    "once": ToolFacts("once", 1),
    "safe": ToolFacts("safe", 1),
    "ask": ToolFacts("ask", 1, approval_seconds=60),
    "rule": ToolFacts("once", 1, rule=True),
    "found": ToolFacts("once", 1, reconciles=True),
}
"""Tools of one name, as a call may find it: with a question, a rule, a `reconcile`."""


# Where a call may stand.


def _asked_before(snapshot: Snapshot, facts: ToolFacts) -> ev.CallAsked:
    """The question that was put about the call when its tool was that."""
    given = conditions({"look": attrs.evolve(facts, effect="ask", rule=False)})
    given = attrs.evolve(given, read={(call_of(snapshot).place, False): GIVEN})
    effect = next_call_effect(snapshot, turn_of(snapshot), given)
    assert isinstance(effect, Apply)
    (event,) = effect.announces
    assert isinstance(event, ev.CallAsked)
    return event


def _proposed(_: Snapshot, __: ToolFacts) -> Sequence[Event]:
    return ()


def _asked(snapshot: Snapshot, facts: ToolFacts) -> Sequence[Event]:
    return (_asked_before(snapshot, facts),)


def _approved(snapshot: Snapshot, facts: ToolFacts) -> Sequence[Event]:
    asked = _asked_before(snapshot, facts)
    return (asked, ev.CallApproved(1, asked.call, asked.digest))


def _denied(snapshot: Snapshot, _: ToolFacts) -> Sequence[Event]:
    return (ev.CallDenied(1, call_of(snapshot).use.id, "no"),)


def _lost(snapshot: Snapshot, _: ToolFacts) -> Sequence[Event]:
    id_ = call_of(snapshot).use.id
    return (ev.CallStarted(1, id_, "k"), ev.CallLost(1, id_))


def _lost_safe(snapshot: Snapshot, _: ToolFacts) -> Sequence[Event]:
    id_ = call_of(snapshot).use.id
    return (ev.CallStarted(1, id_, "k", safe=True), ev.CallLost(1, id_))


STATES: Final[dict[str, Callable[[Snapshot, ToolFacts], Sequence[Event]]]] = {
    "proposed": _proposed,
    "asked": _asked,
    "approved": _approved,
    "denied": _denied,
    "lost": _lost,
    "lost safe": _lost_safe,
}


def use(number: int, broken: bool = False) -> dict[str, Any]:
    """One tool use of a reply; a broken one has no object for arguments."""
    given: Any = "cut" if broken else GIVEN
    return {
        "type": "tool_use",
        "id": f"call_{number}",
        "name": "look",
        "input": given,
    }


def confirmed(*uses: Mapping[str, Any]) -> Snapshot:
    """A conversation whose last reply made these calls."""
    facts = {"id": "msg_1", "stop_reason": "tool_use"}
    reply = Reply(encode(list(uses))[1:-1], encode(facts))
    snapshot = begin(ev.ConversationOpened(PROFILE, "an identity"))
    said = encode({"type": "text", "text": "Go"})
    for event in (
        ev.TurnOpened(1, said),
        ev.RequestSent(1, 1),
        ev.ReplyConfirmed(1, 1, reply),
    ):
        snapshot = fold(snapshot, event)
    return snapshot


def turn_of(snapshot: Snapshot) -> Turn:
    assert snapshot.turn is not None
    return snapshot.turn


def call_of(snapshot: Snapshot, number: int = 0) -> Call:
    return turn_of(snapshot).calls[number]


def conditions(tools: Mapping[str, ToolFacts], limits: CallLimits = FREE) -> Conditions:
    return Conditions(now=NOW, name="a", tools=tools, call_limits=limits)


def known(facts: ToolFacts | None) -> dict[str, ToolFacts]:
    return {} if facts is None else {"look": facts}


def standing(state: str, facts: ToolFacts | None, *, broken: bool = False) -> Snapshot:
    """A conversation whose one call stands so."""
    snapshot = confirmed(use(0, broken))
    for event in STATES[state](snapshot, facts or ToolFacts("ask", 1)):
        snapshot = fold(snapshot, event)
    return snapshot


# The table: what is next for one call of a turn that may run calls.

TABLE: Final = """
state     | none           | once           | safe           | ask            | rule           | found
proposed  | closed error   | start          | start          | read           | read           | start
asked     | rest           | rest           | rest           | rest           | rest           | rest
approved  | closed error   | read           | read           | read           | read           | read
denied    | closed denied  | closed denied  | closed denied  | closed denied  | closed denied  | closed denied
lost      | closed unknown | closed unknown | closed unknown | closed unknown | closed unknown | reconcile
lost safe | closed unknown | closed unknown | start          | closed unknown | closed unknown | reconcile
"""

LIMITED: Final = {
    "proposed": "closed not executed",
    "approved": "closed not executed",
}
"""Where the bounds of the turn are used up, for every tool that there is."""


def cells() -> Iterator[tuple[str, str, str]]:
    head, *rows = TABLE.strip().splitlines()
    tools = [one.strip() for one in head.split("|")[1:]]
    for row in rows:
        state, *effects = (one.strip() for one in row.split("|"))
        yield from ((state, *one) for one in zip(tools, effects, strict=True))


CLOSINGS: Final = {Closing.UNKNOWN: "unknown"}


def named(effect: Effect) -> str:
    """An effect on one call, in a word or two."""
    match effect:
        case Apply((ev.CallClosed() as event,)):
            return f"closed {CLOSINGS.get(event.closing, event.closing.value)}"
        case Apply((ev.CallAsked(),)):
            return "ask"
        case CheckArguments():
            return "read"
        case AskRule():
            return "ask rule"
        case RunCalls():
            return "start"
        case Reconcile():
            return "reconcile"
        case Rest():
            return "rest"
        case _:
            return str(effect)


def next_of(snapshot: Snapshot, given: Conditions) -> Effect:
    return next_call_effect(snapshot, turn_of(snapshot), given)


def against_the_table() -> list[str]:
    """The cells in which the decision is another than the table says."""
    found: list[str] = []
    for state, tool, effect in cells():
        facts = TOOLS[tool]
        snapshot = standing(state, facts)
        made = named(next_of(snapshot, conditions(known(facts))))
        if made != effect:
            found.append(f"{state}, {tool}: {made}, not {effect}")
        if facts is not None:
            limited = LIMITED.get(state, effect)
            made = named(next_of(snapshot, conditions(known(facts), USED_UP)))
            if made != limited:
                found.append(f"{state}, {tool}, used up: {made}, not {limited}")
        if state in ("proposed", "approved"):
            snapshot = confirmed(use(0, broken=True))
            made = named(next_of(snapshot, conditions(known(facts))))
            if made != "closed error":
                found.append(f"{state}, {tool}, broken: {made}")
    return found


def test_each_call_is_decided_about_as_the_table_says() -> None:
    assert len(list(cells())) == len(STATES) * len(TOOLS)
    assert against_the_table() == []


AFTER_READING: Final[tuple[tuple[str, str, Read, str], ...]] = (
    ("proposed", "ask", GIVEN, "ask"),
    ("proposed", "ask", OTHER, "ask"),
    ("proposed", "ask", WRONG, "closed error"),
    ("proposed", "rule", GIVEN, "ask rule"),
    ("proposed", "rule", WRONG, "closed error"),
    ("approved", "ask", GIVEN, "start"),
    ("approved", "ask", OTHER, "ask"),
    ("approved", "ask", WRONG, "closed error"),
    ("approved", "once", GIVEN, "ask"),
)
"""What follows once the arguments were read. The last tool asked when it was approved."""


@pytest.mark.parametrize(("state", "tool", "read", "then"), AFTER_READING)
def test_read_arguments_decide_who_is_asked(
    state: str, tool: str, read: Read, then: str
) -> None:
    facts = TOOLS[tool]
    assert facts is not None
    snapshot = standing(state, facts)
    where = {(call_of(snapshot).place, False): read}
    given = attrs.evolve(conditions(known(facts)), read=where)

    assert named(next_of(snapshot, given)) == then


# Played out: every answer that there may be, to the end.


@final
@attrs.frozen
class Played:
    """A way of the calls of a reply, from where they stood to where nothing is next.

    Attributes:
        snapshot: Where they stand.
        events: What happened, in order.
        effects: What was done, in order.
        answers: What each effect came to.
        rests: Nothing is next.
    """

    snapshot: Snapshot
    events: tuple[Event, ...] = ()
    effects: tuple[Effect, ...] = ()
    answers: tuple[object, ...] = ()
    read: Mapping[tuple[str, bool], Read] = attrs.field(
        factory=dict[tuple[str, bool], Read]
    )
    rests: bool = False

    def happened(self, events: Sequence[Event]) -> "Played":
        """The same, after some events."""
        now = self.snapshot
        for event in events:
            now = fold(now, event)
        return attrs.evolve(self, snapshot=now, events=(*self.events, *events))


def answers(effect: Effect) -> Sequence[Any]:
    """All that an effect may come to."""
    match effect:
        case CheckArguments():
            return (GIVEN, OTHER, WRONG)
        case AskRule():
            return tuple(Ruling(allows, "why", NOW) for allows in (True, False, None))
        case Reconcile():
            return tuple(ended(effect.run.call, one) for one in ENDS)
        case _:
            return (None,)


ENDS: Final = (Closing.RESULT, Closing.UNKNOWN, Closing.NOT_EXECUTED)


def ended(call: Call, closing: Closing) -> Ending:
    return Ending(closing, closed_result(call.use.id, closing.value))


def goes_on(one: Played, given: Conditions) -> Iterator[Played]:
    """Every way on from there, by one effect."""
    given = attrs.evolve(given, read=one.read)
    effect = next_of(one.snapshot, given)
    announced = one.happened(effect.announces)
    if isinstance(effect, Rest):
        yield attrs.evolve(announced, rests=True)
        return
    if isinstance(effect, RunCalls):
        for closing in (Closing.RESULT, Closing.UNKNOWN):
            made = announced
            for at, run in enumerate(effect.starts):
                if at >= effect.parallel:
                    made = made.happened((start(run),))
                then = after_run(run, ended(run.call, closing), given)
                made = made.happened(then.announces)
                if isinstance(then, Reconcile):
                    found = ended(run.call, Closing.RESULT)
                    told = interpret(made.snapshot, then, found, given)
                    made = made.happened(told)
            yield attrs.evolve(made, effects=(*made.effects, effect))
        return
    for answer in answers(effect):
        made = attrs.evolve(
            announced,
            effects=(*one.effects, effect),
            answers=(*one.answers, answer),
        )
        if isinstance(effect, CheckArguments):
            where = (effect.call.place, effect.shown)
            made = attrs.evolve(made, read={**made.read, where: answer})
        yield made.happened(interpret(made.snapshot, effect, answer, given))


def ends(begun: Snapshot, given: Conditions) -> Iterator[Played]:
    """Every way to the end; one that does not end is cut off, and does not rest."""
    todo = [Played(begun)]
    while todo:
        one = todo.pop()
        if one.rests or len(one.effects) > 12:
            yield one
        elif not turn_of(one.snapshot).open_calls:
            yield attrs.evolve(one, rests=True)
        else:
            todo.extend(goes_on(one, given))


def wrong_in(one: Played, begun: Snapshot, given: Conditions) -> Iterator[str]:
    """What one way says that must not be."""
    if not one.rests:
        yield "it does not come to an end"
    for call, before in zip(
        turn_of(one.snapshot).calls, turn_of(begun).calls, strict=True
    ):
        mine = [e for e in one.events if isinstance(e, ev.CallEvent)]
        mine = [e for e in mine if e.call == call.use.id]
        starts = [e for e in mine if isinstance(e, ev.CallStarted)]
        closed = [e for e in mine if isinstance(e, ev.CallClosed)]
        facts = given.tools.get(call.use.name)
        if call.state not in (CallState.CLOSED, CallState.ASKED):
            yield f"a call is left {call.state}"
        if len(closed) != (call.state is CallState.CLOSED):
            yield f"a call has {len(closed)} endings"
        if len(starts) > 1:
            yield "a call is started twice"
        yes = any(isinstance(e, ev.CallApproved) for e in mine)
        yes = yes or before.state in (CallState.APPROVED, CallState.UNKNOWN)
        if starts and facts is not None and facts.asks and not yes:
            yield "a call that is asked about starts without a yes"
        if starts and (facts is None or call.use.input is None):
            yield "a call starts that cannot run"
        reads = before.safe and facts is not None and facts.effect == "safe"
        if starts and before.state is CallState.UNKNOWN and not reads:
            yield "a call that may have had its effect is started again"
        if starts and before.state is CallState.DENIED:
            yield "a call that was denied starts"
        other = OTHER in one.answers and GIVEN not in one.answers
        if starts and before.state is CallState.APPROVED and other:
            yield "another call than the one that was approved starts"
    ids = [
        run.call.use.id
        for e in one.effects
        if isinstance(e, RunCalls)
        for run in e.starts
    ]
    if ids != sorted(ids):
        yield "calls start in another order than that of the reply"
    for effect in one.effects:
        if isinstance(effect, RunCalls):
            announced = [
                e.call for e in effect.announces if isinstance(e, ev.CallStarted)
            ]
            first = effect.starts[: effect.parallel]
            if announced != [run.call.use.id for run in first]:
                yield "what is announced is not what starts first"
    most = given.call_limits.per_turn
    lost = {c.use.id for c in turn_of(begun).calls if c.state is CallState.UNKNOWN}
    new = {e.call for e in one.events if isinstance(e, ev.CallStarted)} - lost
    ran = (Closing.RESULT, Closing.UNKNOWN)
    total = sum(call.closing in ran for call in turn_of(one.snapshot).calls)
    if most is not None and new and total > most:
        yield "more calls run than may"


def kinds() -> Iterator[ToolFacts | None]:
    """Every tool that there may be, as far as it makes a difference."""
    yield None
    for effect, rule, finds in product(
        ("once", "safe", "ask"), (False, True), (False, True)
    ):
        yield ToolFacts(effect, 1, rule, finds)


def wrong_alone() -> Iterator[str]:
    """What is wrong about one call, over every tool, state, argument and bound."""
    for facts, state, broken, most in product(
        kinds(), STATES, (False, True), (None, 0, 1)
    ):
        if broken and state not in ("proposed", "denied"):
            continue  # nobody is asked about such a call, and it never starts
        formers = (facts or ToolFacts("ask", 1), ToolFacts("ask", 2))
        for former in formers:
            begun = standing(state, former, broken=broken)
            given = conditions(known(facts), CallLimits(most, None, 1))
            for one in ends(begun, given):
                for what in wrong_in(one, begun, given):
                    yield f"{state}, {facts}, {most}: {what}"


def wrong_together() -> Iterator[str]:
    """What is wrong about two calls of one reply, one at a time and at once."""
    tools = [one for one in TOOLS.values() if one is not None]
    for tool, first, second, parallel, most in product(
        tools, ("proposed", "lost safe", "denied"), STATES, (1, 2), (None, 1)
    ):
        begun = confirmed(use(0), use(1))
        for number, state in enumerate((first, second)):
            alone = attrs.evolve(turn_of(begun), calls=(call_of(begun, number),))
            only = attrs.evolve(begun, turn=alone)
            for event in STATES[state](only, tool):
                begun = fold(begun, event)
        given = conditions({"look": tool}, CallLimits(most, None, parallel))
        for one in ends(begun, given):
            for what in wrong_in(one, begun, given):
                yield f"{first} and {second}, {tool}, {parallel}: {what}"


def test_every_call_comes_to_one_ending_or_waits_for_a_person() -> None:
    assert sorted(set(wrong_alone())) == []


def test_calls_of_one_reply_come_to_their_endings_together() -> None:
    assert sorted(set(wrong_together())) == []


# The decisions beside the loop: at opening, at a new message, at an answer.


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("state", ["running", "lost", "lost safe"])
def test_a_call_that_a_process_left_is_closed_where_nothing_can_be_done(
    state: str, tool: str
) -> None:
    facts = TOOLS[tool]
    for safe in (False, True):
        begun = confirmed(use(0))
        begun = fold(begun, ev.CallStarted(1, "call_0", "k", safe=safe))
        if state != "running":
            begun = fold(begun, ev.CallLost(1, "call_0"))
        left = begun
        for event in lost_calls(begun, known(facts)):
            left = fold(left, event)

        again = safe and tool == "safe"
        waits = again or tool == "found"
        wanted = CallState.UNKNOWN if waits else CallState.CLOSED
        assert call_of(left).state is wanted
        assert not list(lost_calls(left, known(facts))), "it is settled once"


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("state", STATES)
def test_another_message_settles_what_was_lost_and_runs_nothing(
    state: str, tool: str
) -> None:
    facts = TOOLS[tool]
    effect = unsettled(
        standing(state, facts or ToolFacts("ask", 1)), conditions(known(facts))
    )
    if not state.startswith("lost"):
        assert effect is None
    else:
        assert effect is not None
        wanted = "reconcile" if tool == "found" else "closed unknown"
        assert named(effect) == wanted


@pytest.mark.parametrize("expires", [None, NOW - 1, NOW, NOW + 1])
def test_a_question_is_over_at_the_very_moment_that_it_names(
    expires: float | None,
) -> None:
    begun = confirmed(use(0))
    begun = fold(begun, ev.CallAsked(1, "call_0", "digest", expires))
    over = expires is not None and expires <= NOW

    assert expired(expires, NOW) is over
    denied = (ev.CallDenied(1, "call_0", EXPIRED),)
    assert expirations(begun, NOW) == (denied if over else ())


def test_a_person_has_all_the_time_from_when_the_rule_left_it_to_them() -> None:
    tool = ToolFacts("once", 1, rule=True, approval_seconds=60)
    begun = standing("proposed", tool)
    given = conditions(known(tool))
    asked = AskRule(call_of(begun), GIVEN)
    later = Ruling(None, "", NOW + 20)
    (event,) = interpret(begun, asked, later, given)

    assert isinstance(event, ev.CallAsked)
    assert event.expires == NOW + 80


def test_a_start_that_the_journal_refused_is_closed_unless_it_was_taken_back() -> None:
    before = confirmed(use(0))
    effect = next_of(before, conditions(known(TOOLS["once"])))
    assert isinstance(effect, RunCalls)
    begun = start(effect.starts[0])
    assert isinstance(begun, ev.CallStarted)
    assert never_started(before, begun, before) is None
    started = fold(before, begun)
    closed = never_started(before, begun, started)

    assert isinstance(closed, ev.CallClosed)
    assert closed.closing is Closing.NOT_EXECUTED
    assert never_started(before, begun, fold(started, closed)) is None


def test_a_call_that_ran_before_is_as_lost_as_it_was_where_it_did_not_start_again() -> (
    None
):
    """What it did the first time is not known: "not executed" would be a lie."""
    before = standing("lost safe", TOOLS["safe"])
    effect = next_of(before, conditions(known(TOOLS["safe"])))
    assert isinstance(effect, RunCalls)
    begun = start(effect.starts[0])
    assert isinstance(begun, ev.CallStarted)

    assert never_started(before, begun, fold(before, begun)) == ev.CallLost(1, "call_0")


# One owner of the end of a question.

ROOTS: Final = tuple(
    Path(str(one.__file__)).parent for one in (turnlatch, turnlatch_states)
)
OWN_ENDS: Final = ("journal/", "simulator/")
"""Leases and server threads have ends of their own."""


def judges(source: str) -> int:
    """How many comparisons of the end of something with something else a module has."""
    return sum(
        isinstance(node, ast.Compare)
        and not all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
        and any(
            "expires" in (getattr(part, "attr", ""), getattr(part, "id", ""))
            for part in ast.walk(node)
        )
        for node in ast.walk(ast.parse(source))
    )


def test_one_place_compares_the_end_of_a_question_with_the_clock() -> None:
    found = {
        name: count
        for root in ROOTS
        for path in sorted(root.rglob("*.py"))
        if not (name := path.relative_to(root).as_posix()).startswith(OWN_ENDS)
        if (count := judges(path.read_text("utf-8")))
    }
    assert found == {"machine/call.py": 1}


@pytest.mark.parametrize(
    "planted",
    ["over = now >= call.expires", "left = call.expires - now > 0", "expires < now"],
)
def test_the_check_sees_a_second_judge(planted: str) -> None:
    assert judges(planted)


# Planted: each swap is seen by the table, or by what is played out.


def _always(*_: object) -> bool:
    return True


def _nothing(*_: object) -> None:
    return None


def _was_safe(call: Call, _: ToolFacts | None) -> bool:
    return call.safe


def _is_safe(_: Call, facts: ToolFacts | None) -> bool:
    return facts is not None and facts.effect == "safe"


def _none(_: Turn) -> int:
    return 0


def _first_only(run: Any) -> Event:
    return ev.CallStarted(run.turn, "call_0", run.key, run.safe)


PLANTED: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "every lost call runs again": ("may_run_again", _always),
    "a tool that only reads no more": ("may_run_again", _was_safe),
    "a tool that only reads by now": ("may_run_again", _is_safe),
    "nothing is unusable": ("unusable", _nothing),
    "no bound on the calls": ("_beyond", _nothing),
    "the calls that ran are not counted": ("started", _none),
    "a yes counts for what it has become": ("changed_since", _nothing),
    "what was read is always what was shown": ("_is_shown", _always),
    "nobody is asked": ("_decided", _nothing),
    "a lost call is not settled": ("_settled", _nothing),
    "the start of another is announced": ("start", _first_only),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_the_checks_see_a_decision_that_is_swapped(
    planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("turnlatch_states.effects.calls")
    monkeypatch.setattr(module, *PLANTED[planted])
    try:
        found = next(chain(against_the_table(), wrong_alone(), wrong_together()), "")
    except (IllegalEventError, AssertionError) as refused:  # by the machine, or here
        found = str(refused)
    assert found
