"""What is shown is the same seen fast and slowly, and every block of it has its place."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import examples
from tests.states.conversation_strategies import (
    ENDS,
    PARTS,
    Block,
    Conversation,
    body_of,
    conversation_of,
    conversations,
    owes_results,
    plain,
    says_more,
    summarised,
)
from tests.states.strategies import text
from tests.states.view_strategies import hide_places, seeds, view_of

from turnlatch_states.api.json_bytes import parts
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.request.history import History
from turnlatch_states.request.render import (
    Message,
    Place,
    base_in_force,
    locate,
    messages,
    wires,
)
from turnlatch_states.request.view import EMPTY, Hide, Shrink, Side, Stub, View

Find: TypeAlias = Callable[[str, Sequence[Message]], Place | None]


def staged_of(snapshot: Snapshot) -> bytes:
    assert snapshot.turn is not None
    return snapshot.turn.staged


def fast(snapshot: Snapshot, view: View, history: History | None = None) -> bytes:
    past = snapshot.history if history is None else history
    return b",".join(wires(view, past, snapshot.base, staged_of(snapshot)))


def slow(snapshot: Snapshot, view: View, history: History | None = None) -> bytes:
    past = snapshot.history if history is None else history
    sent = messages(view, past, snapshot.base, staged_of(snapshot))
    base = base_in_force(view, snapshot.base)
    first = [] if base is None else [base.wire]
    rest = sent if base is None else sent[base.size :]
    return b",".join([*first, *(message.wire for message in rest)])


@given(conversations, seeds)
@settings(max_examples=examples(80))
def test_the_fast_way_and_the_slow_way_show_the_same(
    chat: Conversation, given_: list[tuple[int, ...]]
) -> None:
    view = view_of(chat.snapshot, given_)

    once = fast(chat.snapshot, view)
    assert once == slow(chat.snapshot, view)
    assert once == fast(chat.snapshot, view), "what is remembered is what was made"
    assert len(json.loads(b"[" + once + b"]")) == len(
        messages(
            view, chat.snapshot.history, chat.snapshot.base, staged_of(chat.snapshot)
        )
    )


@given(conversations, seeds, st.lists(st.integers(0, 99), min_size=1, max_size=4))
@settings(max_examples=examples(80))
def test_a_view_shows_the_same_of_a_history_that_has_grown_or_was_cut(
    chat: Conversation, given_: list[tuple[int, ...]], cuts: list[int]
) -> None:
    """One view, many histories: what it remembers of one it does not show of another."""
    snapshot = chat.snapshot
    view = view_of(snapshot, given_)
    start = snapshot.covered
    for cut in [*cuts, 0, 99]:
        size = max(start, cut % (len(snapshot.history) + 1))
        past = snapshot.history.until(size)
        assert fast(snapshot, view, past) == slow(snapshot, View(view.ops), past)
    says = Conversation()
    says.snapshot = snapshot
    branch = snapshot.history.until(start)
    for exchange in list(snapshot.history)[start:][::-1]:
        branch = branch.appended(attrs.evolve(exchange, turn=9))
        assert fast(snapshot, view, branch) == slow(snapshot, View(view.ops), branch)


def test_the_check_sees_a_memory_that_is_kept_for_another_history() -> None:
    """Planted: what was rendered of one branch is shown of another."""
    chat = conversation_of([(PARTS.index(plain), 0)] * 2, (0, 0))
    snapshot, view = chat.snapshot, View((Shrink(2, 0), Stub(0, Side.USER, 0, -1, "x")))
    fast(snapshot, view)
    other = conversation_of([(PARTS.index(plain), 1)] * 2, (0, 0)).snapshot
    key, _, made = view.memo["wires"]
    view.memo["wires"] = (key, other.history[1], made)

    assert fast(other, view) != slow(other, View(view.ops))


def test_untouched_exchange_is_sent_as_it_was_sealed() -> None:
    chat = conversation_of([(PARTS.index(plain), 4)] * 4, (0, 0))
    history = chat.snapshot.history
    sent = wires(View((Shrink(2, 8),)), history, None, b"")

    assert sent[-2:] == history.wires()[2:]
    assert wires(EMPTY, history, None, b"") == history.wires()


# Places.

MARK = re.compile(r"#\d+\b|toolu_\w+")


def marks(block: Any) -> set[str]:
    """What tells a block from all others."""
    return set(MARK.findall(json.dumps(block)))


def record_at(snapshot: Snapshot, place: Place) -> list[Block]:
    """The blocks of the record that a place speaks of."""
    if place.exchange == len(snapshot.history):
        data = staged_of(snapshot)
    else:
        exchange = snapshot.history[place.exchange]
        data = exchange.user if place.side is Side.USER else exchange.resendable
    return [json.loads(block) for block in parts(data)]


def inner_of(block: Block) -> list[Block]:
    """The parts of a result."""
    match block:
        case {"type": "tool_result", "content": [*inner]}:
            return inner
        case _:
            return []


def misplaced(snapshot: Snapshot, view: View, find: Find) -> list[str]:
    """The paths of the next request that are not found where they come from."""
    sent = messages(view, snapshot.history, snapshot.base, staged_of(snapshot))
    body = json.loads(body_of(snapshot, view))
    wrong: list[str] = []
    for at, message in enumerate(body["messages"]):
        for number, block in enumerate(message["content"]):
            path = f"messages.{at}.content.{number}.{block['type']}.x"
            place = find(path, sent)
            if place is None:
                if marks(block):
                    wrong.append(path)
                continue
            record = record_at(snapshot, place)
            ours = Side.USER if message["role"] == "user" else Side.REPLY
            if (
                place.side is not ours
                or not 0 <= place.block < len(record)
                or not marks(block) <= marks(record[place.block])
            ):
                wrong.append(path)
            for n, part in enumerate(inner_of(block)):
                deep = f"messages.{at}.content.{number}.tool_result.content.{n}.text"
                found = find(deep, sent)
                source = None if found is None else record_at(snapshot, found)
                if (
                    found is None
                    or source is None
                    or found.inner != n
                    or not marks(part) <= marks(source[found.block]["content"][n])
                ):
                    wrong.append(deep)
    return wrong


@given(conversations, seeds)
@settings(max_examples=examples(150))
def test_every_block_that_is_sent_is_found_where_it_comes_from(
    chat: Conversation, given_: list[tuple[int, ...]]
) -> None:
    assert misplaced(chat.snapshot, view_of(chat.snapshot, given_), locate) == []


def test_the_check_sees_a_place_that_is_off_by_one() -> None:
    """Planted: places are counted as they are sent, whatever was left out before."""

    def naive(path: str, sent: Sequence[Message]) -> Place | None:
        found = locate(path, [attrs.evolve(one, pieces=None) for one in sent])
        return found

    chat = Conversation()
    chat.says(text("Hello"), answer=(text("One."), text("Two.")))
    says_more(chat, 0)
    view = View((Stub(0, Side.REPLY, 0, -1, ""),))

    assert misplaced(chat.snapshot, view, locate) == []
    assert misplaced(chat.snapshot, view, naive) == ["messages.1.content.0.text.x"]


def test_the_check_sees_a_hidden_turn_that_is_counted() -> None:
    """Planted: messages are counted as the record counts them."""
    chat = conversation_of([(PARTS.index(plain), 0)] * 3, (0, 0))
    view = View((Hide(0, 2, "Gone."),))
    whole = messages(EMPTY, chat.snapshot.history, None, staged_of(chat.snapshot))

    assert misplaced(chat.snapshot, view, lambda path, _: locate(path, whole))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "system.0.text",
        "tools.1",
        "messages",
        "messages.x",
        "messages.99",
        "messages.99.content.0",
        "messages.0.content.99",
        "messages." + "9" * 5000,
        "messages.0.content." + "9" * 5000 + ".text",
        "messages.1234567890",
        "messages.\u0660.content.0",
    ],
)
def test_path_outside_the_history_names_no_block(path: str) -> None:
    chat = conversation_of([(PARTS.index(plain), 0)], (0, 0))
    view = View((Shrink(9, 64),))
    sent = messages(view, chat.snapshot.history, None, staged_of(chat.snapshot))
    found = locate(path, sent)

    assert found is None or found == Place(0, Side.USER)


def test_synthetic_content_has_no_place() -> None:
    """A summary, its pins, and the note for what is hidden are nowhere in the record."""
    chat = Conversation()
    plain(chat, 0)
    summarised(chat, 1)
    plain(chat, 0)
    says_more(chat, 0)
    snapshot = chat.snapshot
    places = hide_places(snapshot)
    hidden = View((Hide(places[-2], places[-1], "Gone."),))
    sent = messages(hidden, snapshot.history, snapshot.base, staged_of(snapshot))

    assert snapshot.base is not None
    made = [n for n, one in enumerate(sent) if one.exchange < 0]
    assert len(made) == snapshot.base.size + 1
    for number in made:
        assert locate(f"messages.{number}", sent) is None
        assert locate(f"messages.{number}.content.0", sent) is None


def test_a_whole_message_is_found_without_a_block() -> None:
    chat = Conversation()
    ENDS[ENDS.index(owes_results)](chat, 0)
    sent = messages(EMPTY, chat.snapshot.history, None, staged_of(chat.snapshot))

    assert locate("messages.0: no", sent) == Place(0, Side.USER)
    assert locate("messages.1.role", sent) == Place(0, Side.REPLY)
    assert locate("messages.2.content", sent) == Place(1, Side.USER)
    assert locate("messages.2.content.0.tool_result.content.1.image", sent) == Place(
        1, Side.USER, 0, 1
    )
