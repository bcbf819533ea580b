"""Random legal conversations, with everything that clients and servers leave behind.

Every event goes through `step`, so nothing here can be what the machine would not allow:
tool turns with parallel calls, turns that were stopped among them, paused server tools,
media, summaries, and replies that the API would not take back as they came.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import attrs
from hypothesis import strategies as st
from tests.states.strategies import text

from turnlatch_states.api.faults import Fault, FaultKind
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.api.rules import Context, check
from turnlatch_states.api.rules._base import Finding
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.events import Event
from turnlatch_states.machine.snapshot import Snapshot, Turn
from turnlatch_states.machine.step import begin, step
from turnlatch_states.machine.synthetic_results import closed_result
from turnlatch_states.recovery.context_window import boundary, prepare
from turnlatch_states.recovery.decisions import ChangeRequest
from turnlatch_states.recovery.policies import CompactionPolicy
from turnlatch_states.request.build import Copy, betas, build
from turnlatch_states.request.history import Method
from turnlatch_states.request.profile import Cache, Profile, Purpose
from turnlatch_states.request.view import (
    View,
)

Block: TypeAlias = dict[str, Any]

SEARCH: Block = {"type": "web_search_20250305", "name": "web_search"}
LOOK: Block = {
    "name": "look",
    "description": "Look at something.",
    "input_schema": {"type": "object"},
}
PROFILE = Profile(
    "claude-sonnet-5-5",
    1024,
    (("system", encode("Be brief.")), ("tools", encode([LOOK, SEARCH]))),
    cache=Cache.SHORT,
)
"""A model that binds its thinking, a tool of ours, and one of the server's."""

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)
IMAGE: Block = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
}
LINKED: Block = {
    "type": "image",
    "source": {"type": "url", "url": "https://example.org/a.png"},
}
PAPER: Block = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "a paper " * 20},
}
LONG = "a long result, " * 60

SAYINGS: tuple[tuple[Block, ...], ...] = (
    (text("Hello"),),
    (IMAGE, text("What is this?")),
    (text("And these?"), LINKED, PAPER),
    (text("Grüße 🙂 “\\u00e9”"), text("and more")),
    (text(LONG),),
)
"""What a user says."""


def thinking(serial: int) -> Block:
    """A thought of the model, signed."""
    return {"type": "thinking", "thinking": "Hm.", "signature": f"sig{serial}=="}


HIDDEN: Block = {"type": "redacted_thinking", "data": "ciphertext=="}
BLANK: Block = {"type": "text", "text": " \n"}
CITED: Block = {"type": "text", "text": "So it is.", "citations": None}

ANSWERS: tuple[tuple[Block, ...], ...] = (
    (text("Well."),),
    (HIDDEN, text("Well, 🙂 “yes”.")),
    (text("One."), BLANK, CITED, text("Two.")),
    (BLANK,),
    (),
)
"""What a model answers when it calls nothing."""

RESULTS: tuple[Any, ...] = (
    "fine",
    LONG,
    [text("A picture:"), IMAGE],
    [text(LONG), LINKED, PAPER],
    "",
    [],
)
"""What a tool gives."""


@final
class Conversation:
    """A conversation without an engine: each method is an event that `step` accepts.

        chat = Conversation()
        chat.opens(text("Look at a."))
        chat.sends()
        chat.replies("tool_use", call("toolu_1"))
        assert chat.turn.state == "calling"

    Attributes:
        snapshot: The conversation as the machine sees it.
        serial: The last number that `next` gave out.
    """

    def __init__(self, profile: Profile = PROFILE) -> None:
        self.snapshot = begin(ev.ConversationOpened(profile))
        self.serial = 0

    @property
    def turn(self) -> Turn:
        """The current turn."""
        turn = self.snapshot.turn
        assert turn is not None
        return turn

    def do(self, event: Event) -> None:
        """What happens, through the machine."""
        made = step(self.snapshot, event)
        assert not made.dropped
        self.snapshot = made.snapshot

    def next(self) -> int:
        """A number that was not used before."""
        self.serial += 1
        return self.serial

    def marked(self, blocks: Sequence[Block]) -> list[Block]:
        """The blocks, each told from every other by a number in its words."""
        made: list[Block] = []
        for block in blocks:
            number = self.next()
            match block:
                case {"type": "text", "text": str() as words} if words.strip():
                    made.append({**block, "text": f"#{number} {words}"})
                case {"type": "document"}:
                    made.append({**block, "title": f"#{number}"})
                case {"type": "tool_result", "content": str() as words} if words:
                    made.append({**block, "content": f"#{number} {words}"})
                case {"type": "tool_result", "content": [*inner]}:
                    made.append({**block, "content": self.marked(inner)})
                case _:
                    made.append(block)
        return made

    def opens(self, *blocks: Block) -> None:
        """The user says something; a server tool that never ended is closed."""
        content = b",".join(map(encode, self.marked(blocks)))
        self.do(ev.TurnOpened(self.snapshot.turns + 1, content))
        made = prepare(self.snapshot, CompactionPolicy(auto=False))
        if isinstance(made, ChangeRequest):
            self.chooses(made)

    def chooses(self, made: ChangeRequest) -> None:
        """A remedy is chosen."""
        self.do(
            ev.RemedyChosen(
                self.turn.number,
                made.remedy,
                made.why,
                made.view,
                made.max_tokens,
                made.passing,
            )
        )

    def sends(self, copy: Copy = Copy.NONE) -> None:
        """A request leaves."""
        self.do(ev.RequestSent(self.turn.number, self.turn.attempt + 1, copy))

    def replies(self, stop: str, *blocks: Block, **meta: Any) -> None:
        """A whole reply comes."""
        number = self.next()
        usage = {"input_tokens": 10 * number, "output_tokens": 3}
        facts: dict[str, Any] = {
            "id": f"msg_{number}",
            "model": self.snapshot.profile.model,
            "stop_reason": stop,
            "usage": usage,
            **meta,
        }
        reply = Reply(b",".join(map(encode, self.marked(blocks))), encode(facts))
        self.do(ev.ReplyConfirmed(self.turn.number, self.turn.attempt, reply))

    def says(self, *blocks: Block, answer: Sequence[Block] = (text("Well."),)) -> None:
        """A plain turn."""
        self.opens(*(blocks or SAYINGS[0]))
        self.sends()
        self.replies("end_turn", *answer)

    def fails(self, fault: Fault | None = None) -> None:
        """The turn fails; it is stopped, unless another fault is given."""
        fault = fault or Fault(FaultKind.CANCELLED, "stopped")
        self.do(ev.TurnFailed(self.turn.number, self.turn.attempt, fault))

    def goes_on(self) -> None:
        """The turn goes back to the model."""
        self.do(ev.TurnContinued(self.turn.number))

    def calls(self, pick: int, *, beside: Sequence[Block] = ()) -> None:
        """A reply with calls of some kind: up to three, thought about or not."""
        pick, count = divmod(pick, 3)
        pick, oddly = divmod(pick, 3)
        pick, thought = divmod(pick, 2)
        pick, words = divmod(pick, 2)
        blocks: list[Block] = [thinking(self.next())] if thought else []
        blocks += [text("Let me look.")] if words else []
        blocks += beside
        for _ in range(count + 1):
            blocks.append(odd_call(self.next(), oddly))
        self.replies("tool_use", *blocks)

    def closes(self, pick: int) -> None:
        """Every call gets a result of some kind."""
        for call in self.turn.open_calls:
            pick, kind = divmod(pick, len(RESULTS) + 1)
            id_ = call.use.id
            result = closed_result(id_, "It broke.")
            if kind < len(RESULTS):
                given: Block = {"type": "tool_result", "tool_use_id": id_}
                given["content"] = RESULTS[kind]
                result = b",".join(map(encode, self.marked([given])))
            event = ev.CallClosed(self.turn.number, id_, Closing.RESULT, result)
            self.do(event)
            pick += 1

    def summarises(self, method: Method) -> bool:
        """A summary is asked for and confirmed, if there is anything to cover."""
        covers = boundary(self.snapshot)
        if covers <= self.snapshot.covered:
            return False
        number, attempt = self.turn.number, self.turn.attempt + 1
        self.do(ev.CompactionSent(number, attempt, covers, method))
        serial = self.next()
        block: Block = {"type": "compaction", "content": "So far.", "signature": "s"}
        stop = "compaction" if method is Method.SIGNED else "end_turn"
        content = encode(block if method is Method.SIGNED else text("So far."))
        facts = {"id": f"msg_{serial}", "stop_reason": stop}
        reply = Reply(content, encode(facts))
        self.do(ev.CompactionConfirmed(number, attempt, reply))
        return True


def odd_call(serial: int, oddly: int) -> Block:
    """A call as servers make them: fine, with null for an input, or with a bad id."""
    block: Block = {"type": "tool_use", "id": f"toolu_{serial}", "name": "look"}
    if oddly == 1:
        return {**block, "input": None, "caller": None}
    if oddly == 2:
        return {**block, "id": f"call.{serial}", "input": {"what": LONG}, "index": 0}
    return {**block, "input": {"path": f"a{serial}", "deep": [1, {"b": None}]}}


def search_call(serial: int) -> Block:
    """A call of a server tool."""
    return {
        "type": "server_tool_use",
        "id": f"srvtoolu_{serial}",
        "name": "web_search",
        "input": {"query": "turnlatchs"},
    }


def search_result(serial: int) -> Block:
    """What that call found."""
    found = {
        "type": "web_search_result",
        "title": "Turnlatchs",
        "url": "https://example.org",
        "encrypted_content": "x==",
    }
    return {
        "type": "web_search_tool_result",
        "tool_use_id": f"srvtoolu_{serial}",
        "content": [found],
    }


# Turns that end, and turns that are left waiting for the next request.


def plain(chat: Conversation, pick: int) -> None:
    """Something is said and answered."""
    pick, said = divmod(pick, len(SAYINGS))
    pick, answer = divmod(pick, len(ANSWERS))
    thought = [thinking(chat.next())] if pick % 2 else []
    chat.says(*SAYINGS[said], answer=[*thought, *ANSWERS[answer]])


def _rounds(chat: Conversation, pick: int) -> None:
    """Rounds of calls, up to three, the last of them answered and to be sent."""
    pick, rounds = divmod(pick, 3)
    chat.opens(*SAYINGS[pick % len(SAYINGS)])
    chat.sends()
    for round_ in range(rounds + 1):
        chat.calls(pick + 7 * round_)
        chat.closes(pick + 11 * round_)
        chat.goes_on()
        if round_ < rounds:
            chat.sends()


def tools(chat: Conversation, pick: int) -> None:
    """A turn with tools, to its end."""
    _rounds(chat, pick)
    chat.sends()
    chat.replies("end_turn", *ANSWERS[pick % len(ANSWERS)])


def stopped(chat: Conversation, pick: int) -> None:
    """A turn that was stopped among its calls: their results travel with the next."""
    chat.opens(*SAYINGS[pick % len(SAYINGS)])
    chat.sends()
    chat.calls(pick)
    chat.fails()


def _pauses(chat: Conversation, pick: int) -> int:
    """A paused turn that is to be resumed; the server call it is about."""
    pick, kind = divmod(pick, 3)
    chat.opens(*SAYINGS[pick % len(SAYINGS)])
    chat.sends()
    serial = chat.next()
    call = search_call(serial)
    if kind == 0:
        chat.replies("pause_turn", text("Searching."), call)
    elif kind == 1:
        chat.replies("pause_turn", thinking(serial), call, search_result(serial))
        return 0
    else:
        chat.replies("pause_turn", call)
        chat.goes_on()
        chat.sends()
        again = chat.next()
        chat.replies("pause_turn", search_result(serial), search_call(again))
        serial = again
    return serial


def paused(chat: Conversation, pick: int) -> None:
    """A turn that the server paused, to its end."""
    serial = _pauses(chat, pick)
    chat.goes_on()
    chat.sends()
    found = [search_result(serial)] if serial else []
    chat.replies("end_turn", *found, text("Found."))


def given_up(chat: Conversation, pick: int) -> None:
    """A turn that the server paused and nobody resumed."""
    _pauses(chat, pick)
    chat.fails()


def both(chat: Conversation, pick: int) -> None:
    """A server tool and a tool of ours in one reply."""
    serial = _both(chat, pick)
    chat.sends()
    chat.replies("end_turn", search_result(serial), text("Both."))


def _both(chat: Conversation, pick: int) -> int:
    chat.opens(*SAYINGS[pick % len(SAYINGS)])
    chat.sends()
    serial = chat.next()
    chat.calls(pick, beside=[search_call(serial)])
    chat.closes(pick)
    chat.goes_on()
    return serial


def summarised(chat: Conversation, pick: int) -> None:
    """A summary of what was said so far, and then a plain turn."""
    pick, pinned = divmod(pick, 2)
    if pinned:
        chat.do(ev.Pinned("task", "never forget"))
    chat.opens(text("Go on."))
    chat.summarises(tuple(Method)[pick % 2])
    chat.sends()
    chat.replies("end_turn", text("On."))


def asked_for_summary(chat: Conversation, pick: int) -> None:
    """A turn that only compacts."""
    if chat.turn.calls or not boundary(chat.snapshot) > chat.snapshot.covered:
        return
    chat.do(ev.TurnOpened(chat.snapshot.turns + 1, b"", None, Purpose.COMPACTION))
    chat.summarises(tuple(Method)[pick % 2])


def says_more(chat: Conversation, pick: int) -> None:
    """Something was said and is to be sent."""
    chat.opens(*SAYINGS[pick % len(SAYINGS)])


def owes_results(chat: Conversation, pick: int) -> None:
    """Results are to be sent."""
    _rounds(chat, pick)


def owes_resumption(chat: Conversation, pick: int) -> None:
    """A paused turn is to be sent back."""
    _pauses(chat, pick)
    chat.goes_on()


def owes_both(chat: Conversation, pick: int) -> None:
    """Results are to be sent while a server tool is open."""
    _both(chat, pick)


def carries_results(chat: Conversation, pick: int) -> None:
    """Results of a stopped turn are to be sent with what was said since."""
    stopped(chat, pick)
    chat.opens(*SAYINGS[pick % len(SAYINGS)])


Part: TypeAlias = Callable[[Conversation, int], None]

PARTS: tuple[Part, ...] = (
    plain,
    tools,
    stopped,
    paused,
    given_up,
    both,
    summarised,
    asked_for_summary,
)
"""Turns that come to rest."""

ENDS: tuple[Part, ...] = (
    says_more,
    owes_results,
    owes_resumption,
    owes_both,
    carries_results,
)
"""Turns that are left with a request to be made."""


def conversation_of(
    plan: Sequence[tuple[int, int]], end: tuple[int, int]
) -> Conversation:
    """The conversation that some numbers stand for."""
    chat = Conversation()
    for part, pick in plan:
        if PARTS[part] is asked_for_summary and chat.snapshot.turn is None:
            continue
        PARTS[part](chat, pick)
    ENDS[end[0]](chat, end[1])
    return chat


_picks = st.integers(0, 2**16)
plans = st.lists(st.tuples(st.integers(0, len(PARTS) - 1), _picks), max_size=5)
ends = st.tuples(st.integers(0, len(ENDS) - 1), _picks)
conversations = st.builds(conversation_of, plans, ends)
"""Conversations with a request to be made."""


# The next request.


def body_of(snapshot: Snapshot, view: View) -> bytes:
    """The next request, under a view."""
    assert snapshot.turn is not None
    staged = snapshot.turn.staged
    return build(snapshot.profile, snapshot.history, snapshot.base, staged, view=view)


def findings(snapshot: Snapshot, view: View) -> list[Finding]:
    """What the strict rules say about the next request under a view."""
    import json

    names = betas(snapshot.profile, snapshot.base, Purpose.MESSAGE, view=view)
    body = body_of(snapshot, view)
    context = Context(betas=frozenset(names), body_bytes=len(body))
    return list(check(json.loads(body), context))


def with_turn(snapshot: Snapshot, **changes: Any) -> Snapshot:
    """A snapshot whose turn has other fields."""
    assert snapshot.turn is not None
    return attrs.evolve(snapshot, turn=attrs.evolve(snapshot.turn, **changes))
