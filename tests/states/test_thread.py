"""Every way in which the server's copy can come, go and be given up."""

from collections.abc import Callable, Hashable, Iterator
from itertools import product
from typing import TypeAlias, final

import attrs
import pytest

from turnlatch_states.effects.copy_proof import LOSSES_MAX, choose_copy
from turnlatch_states.fsm.errors import IllegalEventError
from turnlatch_states.fsm.explore import Explored, explore
from turnlatch_states.fsm.table import Table
from turnlatch_states.machine.thread import THREAD, Fire, Thread, ThreadState
from turnlatch_states.request.build import Copy
from turnlatch_states.request.profile import Threads

Chooses: TypeAlias = Callable[[Thread, Threads, bool, bool], Copy]
FIRES: tuple[Fire, ...] = (Table.fire, Table.choose)


@final
@attrs.frozen
class World:
    """A copy, and the request that is in flight.

    Attributes:
        thread: What the server may hold.
        flying: What the request in flight has to do with it; None if none is.
        happened: What led here, for the checks.
    """

    thread: Thread = attrs.field(factory=Thread)
    flying: Copy | None = None
    happened: str = ""


def chosen(thread: Thread, wanted: Threads, on_trial: bool, unthreaded: bool) -> Copy:
    """As it is chosen."""
    return choose_copy(thread, wanted, on_trial=on_trial, unthreaded=unthreaded)


def outcomes(thread: Thread, copy: Copy, fire: Fire) -> Iterator[tuple[str, Thread]]:
    """How a request can end for the copy."""
    yield "confirmed", thread.confirmed(copy, fire, elsewhere=False)
    yield "confirmed elsewhere", thread.confirmed(copy, fire, elsewhere=True)
    yield "refused otherwise", thread
    if copy is not Copy.NONE:
        yield "lost", thread.failed(copy, fire, unsupported=False)
        yield "unsupported", thread.failed(copy, fire, unsupported=True)
    if copy is Copy.CONTINUE:
        yield "not proved", thread.doubted(fire)


def moves(
    fire: Fire, chooses: Chooses = chosen
) -> Callable[[World], Iterator[tuple[str, World]]]:
    """Everything that may happen next."""

    def next_of(world: World) -> Iterator[tuple[str, World]]:
        thread = world.thread
        if world.flying is not None:
            for label, after in outcomes(thread, world.flying, fire):
                yield label, World(after, None, label)
            return
        # A rewind, a summary, other settings: what is held is not what is shown.
        yield "changed", World(thread.lost(fire), None, "changed")
        yield "configured", World(thread.elsewhere(fire), None, "changed")
        for wanted, trial, without in product(Threads, (True, False), (True, False)):
            copy = chooses(thread, wanted, trial, without)
            yield f"{wanted}: {copy}", World(thread.sent(copy, fire), copy, "sent")

    return next_of


def key(world: World) -> Hashable:
    """Everything that matters: losses beyond those that are counted are alike."""
    thread = world.thread
    losses = min(thread.losses, LOSSES_MAX + 1)
    marks = thread.refused, thread.unproved
    return thread.state, losses, marks, world.flying, world.happened


def graph(fire: Fire = Table.fire, chooses: Chooses = chosen) -> Explored[World]:
    return explore(World(), moves(fire, chooses), key, limit=5_000)


@pytest.mark.parametrize("fire", FIRES)
def test_whatever_happens_is_a_row_of_the_table(fire: Fire) -> None:
    """Nothing raises; the executed and the looked-up machine agree on every state."""
    found = graph(fire)

    assert len(found.states) > 50
    assert found.states.keys() == graph(Table.fire).states.keys()
    assert {world.thread.state for world in found.states.values()} == set(ThreadState)


def continues_what_is_held(world: World) -> bool:
    """A request that continues is sent only to a server that has answered."""
    held = world.thread.state is ThreadState.CONTINUING
    return world.flying is not Copy.CONTINUE or held


def test_only_what_was_confirmed_is_continued() -> None:
    found = graph()

    assert found.violations(continues_what_is_held) == ()
    for world in found.states.values():
        if world.thread.state is not ThreadState.CONTINUING:
            with pytest.raises(IllegalEventError):
                world.thread.sent(Copy.CONTINUE, Table.fire)
        if world.thread.state is ThreadState.CONTINUING and world.flying is None:
            assert world.happened in ("confirmed", "refused otherwise")


def test_the_check_sees_a_client_that_continues_what_is_gone() -> None:
    """Planted: it takes any thread it ever had for one that can be continued."""

    def careless(
        thread: Thread, wanted: Threads, on_trial: bool, unthreaded: bool
    ) -> Copy:
        copy = chosen(thread, wanted, on_trial, unthreaded)
        known = thread.state is not ThreadState.OFF
        return Copy.CONTINUE if known and copy is Copy.CREATE else copy

    with pytest.raises(IllegalEventError):
        graph(chooses=careless)


def test_every_loss_is_made_good_with_a_new_copy() -> None:
    for world in graph().states.values():
        if world.flying is not None or world.thread.state is ThreadState.CONTINUING:
            continue
        thread = world.thread.elsewhere(Table.fire)
        copy = chosen(thread, Threads.ON, False, False)
        assert copy is Copy.CREATE
        sent = thread.sent(copy, Table.fire)
        assert sent.state is ThreadState.NEW
        held = sent.confirmed(copy, Table.fire, elsewhere=False)
        assert chosen(held, Threads.ON, False, False) is Copy.CONTINUE


def held(world: World) -> bool:
    """The server keeps a copy, and it can be continued."""
    return world.flying is None and world.thread.state is ThreadState.CONTINUING


def test_from_everywhere_a_copy_can_be_had_again() -> None:
    found = graph()

    assert [found.path(k) for k in found.stuck(held)[:1]] == []


def test_the_check_sees_a_copy_that_is_lost_for_good() -> None:
    """Planted: a client that, once it lost one, never asks for another."""

    def sulking(
        thread: Thread, wanted: Threads, on_trial: bool, unthreaded: bool
    ) -> Copy:
        if thread.losses:
            return Copy.NONE
        return chosen(thread, wanted, on_trial, unthreaded)

    assert graph(chooses=sulking).stuck(held)


def test_auto_gives_up_where_the_server_cannot_and_where_it_does_not_pay() -> None:
    for world in graph().states.values():
        thread = world.thread
        given_up = thread.refused or thread.losses >= LOSSES_MAX or thread.unproved
        asked = chosen(thread, Threads.AUTO, False, False)
        assert (asked is Copy.NONE) == given_up
        asked = chosen(thread, Threads.ON, False, False)
        assert (asked is Copy.NONE) == thread.unproved
        assert chosen(thread, Threads.OFF, False, False) is Copy.NONE
        assert chosen(thread, Threads.ON, False, True) is Copy.NONE
        if not thread.unproved:
            assert chosen(thread, Threads.ON, True, False) is Copy.CREATE


def test_losses_are_counted_until_one_is_continued() -> None:
    thread = Thread()
    for number in range(LOSSES_MAX):
        assert (
            choose_copy(thread, Threads.AUTO, on_trial=False, unthreaded=False)
            is Copy.CREATE
        )
        thread = thread.sent(Copy.CREATE, Table.fire)
        thread = thread.confirmed(Copy.CREATE, Table.fire, elsewhere=False)
        thread = thread.sent(Copy.CONTINUE, Table.fire)
        thread = thread.failed(Copy.CONTINUE, Table.fire, unsupported=False)
        assert thread.losses == number + 1
    assert (
        choose_copy(thread, Threads.AUTO, on_trial=False, unthreaded=False) is Copy.NONE
    )
    thread = thread.sent(Copy.CREATE, Table.fire)
    thread = thread.confirmed(Copy.CREATE, Table.fire, elsewhere=False)
    thread = thread.confirmed(Copy.CONTINUE, Table.fire, elsewhere=False)
    assert thread == Thread(ThreadState.CONTINUING, 0)


def test_unsent_content_is_not_in_the_server_thread() -> None:
    """A reply without the copy, and one by another model, end it."""
    for world in graph().states.values():
        if world.flying is Copy.NONE:
            after = world.thread.confirmed(Copy.NONE, Table.fire, elsewhere=False)
            assert after.state is not ThreadState.CONTINUING
        elif world.flying is not None:
            after = world.thread.confirmed(world.flying, Table.fire, elsewhere=True)
            assert after.state is ThreadState.LOST


def test_every_row_of_the_table_is_taken() -> None:
    taken = {
        (world.thread.state.value, after.thread.state.value)
        for world in graph().states.values()
        for _, after in moves(Table.fire)(world)
    }
    rows = {(row.source, row.target) for row in THREAD.transitions}

    # Whoever is refused a copy had just asked for one, so it is not a lost one then.
    assert rows - taken == {("lost", "off")}
