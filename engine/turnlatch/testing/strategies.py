"""Hypothesis strategies of what an agent meets: inputs, answers, faults, message arrays.

from turnlatch.testing import strategies as agents

@given(agents.legal_messages())
def test_my_renderer_shows_every_message(messages): ...
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from turnlatch.simulator import Answer, ClientCall, reply, think
from turnlatch.testing.json_schemas import INTEGER_MAX, from_schema, json_values, texts
from turnlatch.testing.oracle import definition_of
from turnlatch.tools.definition import Tool, tool

Message: TypeAlias = dict[str, Any]
"""One message of an array, as JSON."""

ToolLike: TypeAlias = Tool | Mapping[str, Any] | Callable[..., Any]
"""A tool: declared with `tool`, as the API takes it, or as a plain typed function."""

LOOK_UP: Final[Mapping[str, Any]] = {
    "name": "look_up",
    "description": "Look up a word.",
    "input_schema": {
        "type": "object",
        "properties": {"word": {"type": "string"}},
        "required": ["word"],
    },
}
"""The tool of message arrays that are drawn without tools."""

_PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)


def said() -> SearchStrategy[str]:
    """Texts that the API takes as a message: not blank."""
    return texts(1, 40).filter(lambda one: bool(one.strip()))


def _blocks() -> SearchStrategy[Message]:
    source = {"type": "base64", "media_type": "image/png", "data": _PIXEL}
    picture = st.just({"type": "image", "source": source})
    return said().map(_text) | picture


def _text(words: str) -> Message:
    return {"type": "text", "text": words}


def user_inputs() -> SearchStrategy[str | list[Message]]:
    """What a user says: a text, or blocks of text and pictures."""
    return said() | st.lists(_blocks(), min_size=1, max_size=3)


def _definition(one: ToolLike) -> Mapping[str, Any]:
    if isinstance(one, Tool | Mapping):
        return definition_of(one)  # pyright: ignore[reportUnknownArgumentType] - of any keys
    return tool(one).definition


def tool_calls(*tools: ToolLike) -> SearchStrategy[ClientCall]:
    """Calls of these tools, with arguments that fit their schemas.

    Raises:
        SettingsError: A schema uses a keyword that is not read here.
        ToolDefinitionError: No schema can be made from a function.
    """
    each: list[SearchStrategy[ClientCall]] = []
    for one in map(_definition, tools):
        arguments = from_schema(one["input_schema"])
        each.append(st.builds(ClientCall, st.just(str(one["name"])), arguments))
    return st.one_of(each)


def answers(*tools: ToolLike) -> SearchStrategy[Answer]:
    """Answers of the model, for `messages_api.answers`: text, thoughts, and calls of these
    tools, one or several at a time.

    Raises:
        SettingsError: As `tool_calls`.
        ToolDefinitionError: As `tool_calls`.
    """
    words = said().map(reply)
    thought = st.builds(_thought, said(), said())
    if not tools:
        return words | thought
    calls = st.lists(tool_calls(*tools), min_size=1, max_size=3)
    acting = calls.map(lambda made: reply(*made))
    both = st.builds(_acting, said(), calls)
    return words | thought | acting | both


def _thought(thought: str, words: str) -> Answer:
    return reply(think(thought), words)


def _acting(words: str, calls: Sequence[ClientCall]) -> Answer:
    return reply(words, *calls)


_STATUSES: Final = ("408", "409", "429", "500", "502", "503", "504", "529")
_ENDINGS: Final = ("clean", "eof", "reset", "stall")


@st.composite
def _fault(draw: DrawFn) -> str:
    count = st.integers(1, 9)
    kind = draw(st.sampled_from(("status", "cut", "percent", "error", "slow", "plain")))
    match kind:
        case "status":
            told = draw(st.sampled_from(_STATUSES))
            if draw(st.booleans()):
                told += f" retry-after={draw(count)}"
        case "cut":
            told = f"cut {draw(count)} {draw(st.sampled_from(_ENDINGS))}"
        case "percent":
            share = draw(st.integers(1, 99))
            told = f"cut {share}% {draw(st.sampled_from(_ENDINGS))}"
        case "error":
            told = f"error overloaded_error after {draw(count)}"
        case "slow":
            what = draw(st.sampled_from(("headers", "events")))
            told = f"slow {what} {draw(count)}s"
        case _:
            whole = ("truncated json", "malformed json", "empty 200", "html 502")
            told = draw(st.sampled_from((*whole, "eof", "reset", "stall")))
    first = draw(count)
    last = first + draw(st.integers(0, 3))
    when = (f"@{first}", f"@{first}-{last}", f"every {first}", f"times {first}")
    return f"{told} {draw(st.sampled_from(when))}"


def faults(max_size: int = 3) -> SearchStrategy[str]:
    """Fault scripts of one to `max_size` faults, as text that the simulator reads."""
    return st.lists(_fault(), min_size=1, max_size=max_size).map(", ".join)


@final
class _Conversation:
    """Draws the parts of one message array; its ids are unique."""

    def __init__(self, draw: DrawFn, tools: Sequence[ToolLike]) -> None:
        self.draw = draw
        self._calls = tool_calls(*(tools or (LOOK_UP,)))
        self._serial = 0

    def id(self) -> str:
        """An id that was not used before."""
        self._serial += 1
        return f"toolu_{self._serial}"

    def user(self) -> Message:
        """A message of the user."""
        return {"role": "user", "content": self.draw(user_inputs())}

    def words(self) -> Message:
        """A reply that calls nothing."""
        return {"role": "assistant", "content": [_text(self.draw(said()))]}

    def calls(self, least: int = 1) -> list[Message]:
        """The blocks of some calls."""
        made = self.draw(st.lists(self._calls, min_size=least, max_size=3))
        return [
            {"type": "tool_use", "id": self.id(), "name": one.name, "input": one.input}
            for one in made
        ]

    def results(self, calls: Sequence[Message]) -> list[Message]:
        """The results of calls, in any order."""
        return [
            {
                "type": "tool_result",
                "tool_use_id": one["id"],
                "content": self.draw(said()),
                **({"is_error": True} if self.draw(st.booleans()) else {}),
            }
            for one in self.draw(st.permutations(list(calls)))
        ]

    def round(self) -> list[Message]:
        """Calls and their results, with some words around them."""
        calls = self.calls()
        before = [_text(self.draw(said()))] if self.draw(st.booleans()) else []
        after = [_text(self.draw(said()))] if self.draw(st.booleans()) else []
        return [
            {"role": "assistant", "content": before + calls},
            {"role": "user", "content": self.results(calls) + after},
        ]

    def open(self) -> list[Message]:
        """A message of the user, and some rounds of calls that are all answered."""
        found = [self.user()]
        for _ in range(self.draw(st.integers(0, 2))):
            found += self.round()
        return found

    def whole(self) -> list[Message]:
        """Some turns that are over."""
        found: list[Message] = []
        for _ in range(self.draw(st.integers(0, 2))):
            found += [*self.open(), self.words()]
        return found


def legal_messages(*tools: ToolLike) -> SearchStrategy[list[Message]]:
    """Message arrays that the API accepts: whole turns, then one that is open.

    Args:
        tools: The tools that are called; `LOOK_UP` by default.
    """

    @st.composite
    def drawn(draw: DrawFn) -> list[Message]:
        conversation = _Conversation(draw, tools)
        return [*conversation.whole(), *conversation.open()]

    return drawn()


@final
@attrs.frozen
class IllegalMessages:
    """A message array that the API refuses.

    Attributes:
        messages: The array.
        rule: The id of the rule that it breaks, as `turnlatch check` names it.
    """

    messages: list[Message]
    rule: str


def _unknown_role(its: _Conversation) -> list[Message]:
    role = its.draw(st.sampled_from(("tool", "developer", "User")))
    return [{**its.user(), "role": role}]


def _blank(its: _Conversation) -> list[Message]:
    blank = its.draw(st.sampled_from(("", " ", "\n\t")))
    return [{"role": "user", "content": [_text(its.draw(said())), _text(blank)]}]


def _unanswered(its: _Conversation) -> list[Message]:
    calls = its.calls()
    kept = its.draw(st.integers(0, len(calls) - 1))
    told = [*its.results(calls[:kept]), _text(its.draw(said()))]
    return [
        its.user(),
        {"role": "assistant", "content": calls},
        {"role": "user", "content": told},
    ]


def _uncalled(its: _Conversation) -> list[Message]:
    result = {"type": "tool_result", "tool_use_id": its.id(), "content": "found"}
    return [its.user(), its.words(), {"role": "user", "content": [result]}]


def _words_first(its: _Conversation) -> list[Message]:
    calls = its.calls()
    told = [_text(its.draw(said())), *its.results(calls)]
    return [
        its.user(),
        {"role": "assistant", "content": calls},
        {"role": "user", "content": told},
    ]


def _same_id(its: _Conversation) -> list[Message]:
    calls = its.calls()
    results = its.results(calls)
    if its.draw(st.booleans()):
        calls = [*calls, calls[0]]
    else:
        results = [*results, results[0]]
    return [
        its.user(),
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ]


def _torn_search(its: _Conversation) -> list[Message]:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search"}
    words = _text(its.draw(said()))
    content = [{**search, "input": {"query": "news"}}, words]
    return [its.user(), {"role": "assistant", "content": content}, its.user()]


def _call_of_the_user(its: _Conversation) -> list[Message]:
    return [{"role": "user", "content": its.calls()}]


def _input_of_no_object(its: _Conversation) -> list[Message]:
    calls = its.calls()
    results = its.results(calls)
    calls[0]["input"] = its.draw(st.sampled_from((None, [], "x", 1)))
    return [
        its.user(),
        {"role": "assistant", "content": calls},
        {"role": "user", "content": results},
    ]


_BREAKS: Final[Mapping[str, Callable[[_Conversation], list[Message]]]] = {
    "R4": _unknown_role,
    "R6": _blank,
    "R8": _unanswered,
    "R9": _uncalled,
    "R10": _words_first,
    "R11": _same_id,
    "R12": _torn_search,
    "R14": _call_of_the_user,
    "R15": _input_of_no_object,
}
"""By rule, the messages that break it, whatever legal ones stand before and behind."""

BROKEN_RULES: Final = ("R3", "R7", *_BREAKS)
"""The rules that `illegal_messages` breaks."""


def illegal_messages(*tools: ToolLike) -> SearchStrategy[IllegalMessages]:
    """Message arrays that the API refuses, each with the one rule that it breaks.

    Args:
        tools: The tools that are called; `LOOK_UP` by default.
    """

    @st.composite
    def drawn(draw: DrawFn) -> IllegalMessages:
        its = _Conversation(draw, tools)
        rule = draw(st.sampled_from(BROKEN_RULES))
        if rule == "R3":
            return IllegalMessages([], rule)
        if rule == "R7":
            return IllegalMessages([*its.whole(), its.user(), its.words()], rule)
        broken = [*its.whole(), *_BREAKS[rule](its)]
        if draw(st.booleans()):
            broken += [its.words(), *its.open()]
        return IllegalMessages(broken, rule)

    return drawn()


__all__ = [
    "BROKEN_RULES",
    "INTEGER_MAX",
    "LOOK_UP",
    "IllegalMessages",
    "Message",
    "ToolLike",
    "answers",
    "faults",
    "from_schema",
    "illegal_messages",
    "json_values",
    "legal_messages",
    "said",
    "texts",
    "tool_calls",
    "user_inputs",
]
