"""The life of one call, walked through exhaustively: one result, and no second start."""

from collections.abc import Iterator

import attrs

from turnlatch_states.api.reply import ToolUse
from turnlatch_states.api.stop_reasons import Outcome
from turnlatch_states.effects.call_history import repeats, started
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.fsm.explore import Explored, explore
from turnlatch_states.fsm.table import Table
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import CallState, Closing
from turnlatch_states.machine.call_step import moved_calls
from turnlatch_states.machine.snapshot import Call, Turn

USE = ToolUse("toolu_1", "act", {"what": "a"})
RESULT = b'{"type":"tool_result","tool_use_id":"toolu_1","content":"did a"}'


@attrs.frozen
class Life:
    """A call, and what happened to it so far.

    Attributes:
        call: The call.
        unsafe: How often it was started without being one that only reads.
        safe: How often it was started as one that only reads; 2 for twice or more.
        yes: What the last yes was to, until it is used up.
        closed: How often it was closed.
    """

    call: Call
    unsafe: int = 0
    safe: int = 0
    yes: str = ""
    closed: int = 0


def events() -> Iterator[ev.CallEvent]:
    """Everything that may be reported of it, with one of two digests."""
    for digest in ("this", "that"):
        yield ev.CallAsked(1, USE.id, digest, None)
        yield ev.CallApproved(1, USE.id, digest)
    yield ev.CallDenied(1, USE.id, "no")
    yield ev.CallStarted(1, USE.id, "key")
    yield ev.CallStarted(1, USE.id, "key", safe=True)
    yield ev.CallLost(1, USE.id)
    yield ev.CallClosed(1, USE.id, Closing.RESULT, RESULT)


def after(life: Life, event: ev.CallEvent) -> Life:
    """The life with one more event.

    Raises:
        IllegalEventError: The table refuses it.
    """
    turn = Turn(1, "confirmed", calls=(life.call,), outcome=Outcome.CALLS)
    (call,) = moved_calls(turn, event, Table.fire)
    match event:
        case ev.CallStarted(safe=True):
            return attrs.evolve(life, call=call, safe=min(life.safe + 1, 2), yes="")
        case ev.CallStarted():
            return attrs.evolve(life, call=call, unsafe=life.unsafe + 1, yes="")
        case ev.CallApproved():
            return attrs.evolve(life, call=call, yes=event.digest)
        case ev.CallAsked():
            return attrs.evolve(life, call=call, yes="")
        case ev.CallClosed():
            return attrs.evolve(life, call=call, closed=life.closed + 1)
        case _:
            return attrs.evolve(life, call=call)


def moves(life: Life) -> Iterator[tuple[str, Life]]:
    for event in events():
        try:
            yield str(event), after(life, event)
        except IllegalEventError:
            continue


def all_lives() -> Explored[Life]:
    return explore(Life(Call(USE)), moves, lambda life: str(life), limit=5_000)


def test_every_life_can_end_in_one_result_and_ends_there() -> None:
    lives = all_lives()

    assert lives.stuck(lambda life: life.call.state is CallState.CLOSED) == ()
    assert lives.violations(lambda life: life.closed <= 1) == ()
    ends = [one for one in lives.states.values() if not list(moves(one))]
    assert {one.call.state for one in ends} == {CallState.CLOSED}


def test_call_that_may_have_an_effect_starts_once() -> None:
    lives = all_lives()

    assert lives.violations(lambda life: life.unsafe + min(life.safe, 1) <= 1) == ()
    assert any(life.safe == 2 for life in lives.states.values())


def test_a_yes_is_to_what_was_asked_and_is_used_up_by_the_start() -> None:
    for life in all_lives().states.values():
        if life.call.state is CallState.APPROVED:
            assert life.yes == life.call.digest
        if life.call.state is CallState.ASKED:
            other = "that" if life.call.digest == "this" else "this"
            for wrong in (
                ev.CallApproved(1, USE.id, other),
                ev.CallStarted(1, USE.id, "k"),
            ):
                try:
                    after(life, wrong)
                except IllegalEventError:
                    continue
                raise AssertionError(f"{wrong} was taken in {life}")


def done(*pairs: tuple[str, Closing, bytes]) -> Turn:
    """A turn whose calls came out like this: argument, closing, content."""
    calls = tuple(
        Call(
            ToolUse(f"toolu_{number}", "act", {"what": what}),
            CallState.CLOSED,
            closing,
            b'{"tool_use_id":"toolu_%d","content":"%s"}' % (number, said),
        )
        for number, (what, closing, said) in enumerate(pairs)
    )
    return Turn(1, "confirmed", done=calls)


def test_repeats_are_of_the_same_call_with_the_same_result_in_a_row() -> None:
    same = ("a", Closing.RESULT, b"x")
    other = ("b", Closing.RESULT, b"x")
    anew = ("a", Closing.RESULT, b"y")
    told = ("a", Closing.NOT_EXECUTED, b"enough")

    assert repeats(done(), USE) == 0
    assert repeats(done(same, same, same), USE) == 3
    assert repeats(done(same, other, same), USE) == 2, "others in between count nothing"
    assert repeats(done(same, anew), USE) == 1
    assert repeats(done(same, same, told), USE) == 0, "it was told, and counts anew"
    assert repeats(done(same, told, same), USE) == 1


def test_call_that_never_started_does_not_count_as_run() -> None:
    turn = done(
        ("a", Closing.RESULT, b""),
        ("b", Closing.NOT_EXECUTED, b""),
        ("c", Closing.DENIED, b""),
        ("d", Closing.UNKNOWN, b""),
    )

    assert started(turn) == 2
