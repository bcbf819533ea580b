"""Properties: total on any JSON, silent on legal conversations, awake to each fault."""

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.part import examples

from turnlatch_states.api.rules import RULES, ApiLimits, Context, check

Json: TypeAlias = "dict[str, object]"
EMPTY: Json = {}
BETAS = frozenset(
    {
        "compact-2026-09-04",
        "compact-2026-01-12",
        "message-threads-2026-08-12",
        "mid-conversation-system-clear-at-2026-08-21",
        "inline-tools-2026-09-15",
        "mcp-client-2025-11-20",
        "context-management-2025-06-27",
    }
)
WORDS: str = (
    "type role content messages text tool_use tool_result thinking id tool_use_id input "
    "name model max_tokens tools system thread continue user assistant cache_control "
    "source base64 data image document compaction signature edits context_management "
    "input_schema properties required previous_message_id diagnostics claude-opus-5 "
    "server_tool_use web_search_tool_result tool_choice output_config effort clear_at"
)
SCALARS: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(WORDS.split())
    | st.just("\ud800")
)
KEYS: st.SearchStrategy[str] = st.sampled_from(WORDS.split()) | st.text(max_size=3)
JSON: st.SearchStrategy[object] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6)
    ),
    max_leaves=30,
)
Parts: TypeAlias = "dict[str, st.SearchStrategy[object]]"
TAG: Parts = {"type": st.sampled_from(WORDS.split())}
BLOCK_PARTS: Parts = dict.fromkeys(
    ("text", "id", "tool_use_id", "content", "input", "source"), JSON
)
BLOCKS = st.lists(st.fixed_dictionaries(TAG, optional=BLOCK_PARTS))
MESSAGE: Parts = {
    "role": st.sampled_from(["user", "assistant", "system"]) | JSON,
    "content": BLOCKS | JSON,
}
REQUEST: Parts = {
    "model": st.just("claude-opus-5") | JSON,
    "max_tokens": st.integers() | JSON,
    "messages": st.lists(st.fixed_dictionaries(MESSAGE) | JSON, max_size=5) | JSON,
    **dict.fromkeys(
        [
            "tools",
            "system",
            "thinking",
            "thread",
            "tool_choice",
            "compaction",
            "context_management",
            "output_config",
            "cache_control",
            "stop_sequences",
            "diagnostics",
        ],
        JSON,
    ),
}
NOTHING: Parts = {}
REQUESTS = st.fixed_dictionaries(NOTHING, optional=REQUEST)


class Checks:
    """A verifier that refuses a signature it does not know."""

    def thinking(
        self, block: Mapping[str, object], *, path: str, body: Mapping[str, object]
    ) -> str | None:
        del path
        if block.get("signature") == "forged":
            return "Invalid `signature` in `thinking` block"
        if body.get("system") == "another prompt":
            return "The block is bound to a different conversation."
        return None

    def compaction(self, block: Mapping[str, object]) -> tuple[str, str] | None:
        return None


def length(body: Mapping[str, object]) -> int:
    return len(str(body.get("messages")))


EVERYTHING = Context(BETAS, body_bytes=100, verify=Checks(), count_tokens=length)


@given(st.one_of(JSON, REQUESTS))
@settings(max_examples=examples(200))
def test_no_json_value_makes_a_rule_raise(value: object) -> None:
    for context in (Context(), EVERYTHING, Context(BETAS, held=())):
        for finding in check(cast(Json, value), context):
            assert finding.message


def test_an_integer_too_long_to_print_makes_no_rule_raise() -> None:
    """Python refuses to write out more than 4,300 digits."""
    body = {"model": "claude-opus-5", "max_tokens": 10**5000, "messages": 10**5000}

    assert [f.rule for f in check(body)] == ["R3", "R2"]


def test_depth_makes_no_rule_raise() -> None:
    """Deeper than Python recurses, everywhere where anything may stand."""
    deep: object = {}
    for _ in range(20_000):
        deep = {"properties": {"a": deep}, "type": "object"}
    call = {"type": "tool_use", "id": "a", "name": "f", "input": deep}
    body = {
        "model": "claude-opus-5",
        "max_tokens": 1,
        "tools": [{"name": "f", "input_schema": deep, "strict": True}],
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [call]},
        ],
    }

    assert [f.rule for f in check(body, only={"R1", "R8"})] == ["R8"]


# ---- legal conversations

ANY_TEXT = st.text(st.sampled_from("ab \n\té漢😀"), max_size=8)
TEXTS = ANY_TEXT.map(lambda text: f"a{text}")


@st.composite
def legal(draw: st.DrawFn) -> Json:
    """A request with at least one tool round, thinking, and a long enough history."""
    calls = 0
    messages: list[object] = []

    def user(first: list[object]) -> None:
        content = [
            *first,
            *(
                {"type": "text", "text": text}
                for text in draw(st.lists(TEXTS, max_size=2))
            ),
        ]
        apart = draw(st.booleans())
        if not content:
            messages.append({"role": "user", "content": draw(TEXTS)})
        elif first and apart:
            messages.extend({"role": "user", "content": [part]} for part in content)
        else:
            messages.append({"role": "user", "content": content})

    user([])
    for _ in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 2))):
            made = draw(st.integers(1, 3))
            ids = [f"toolu_{calls + n}" for n in range(made)]
            calls += made
            thought = {"type": "thinking", "thinking": "", "signature": "sig"}
            said: list[object] = []
            if draw(st.booleans()):
                said.append(thought)
            said.append({"type": "text", "text": draw(TEXTS)})
            said += [
                {
                    "type": "tool_use",
                    "id": call,
                    "name": "f",
                    "input": {"q": draw(TEXTS)},
                }
                for call in ids
            ]
            messages.append({"role": "assistant", "content": said})
            results: list[object] = [
                {
                    "type": "tool_result",
                    "tool_use_id": call,
                    "content": draw(ANY_TEXT),
                }
                for call in draw(st.permutations(ids))
            ]
            user(results)
        thought = {"type": "thinking", "thinking": "x", "signature": "sig"}
        messages.append(
            {
                "role": "assistant",
                "content": [thought, {"type": "text", "text": draw(TEXTS)}],
            }
        )
        user([])
    body: Json = {
        "model": "claude-opus-5",
        "max_tokens": draw(st.integers(1, 128_000)),
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": messages,
    }
    if draw(st.booleans()):
        mark = {"type": "ephemeral", "ttl": draw(st.sampled_from(["5m", "1h"]))}
        body["system"] = [{"type": "text", "text": draw(TEXTS), "cache_control": mark}]
        if mark["ttl"] == "1h":
            body["cache_control"] = {"type": "ephemeral"}
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(TEXTS)})
    return body


@given(legal())
def test_a_legal_conversation_is_accepted(body: Json) -> None:
    assert list(check(body, Context(verify=Checks()))) == []


# ---- one planted fault a rule


def messages(body: Json) -> list[Json]:
    return cast(list[Json], body["messages"])


def first(body: Json, kind: str) -> tuple[int, int, Json]:
    """Where the first block of this kind is: message, block, the block."""
    for place, message in enumerate(messages(body)):
        content = message["content"]
        if isinstance(content, list):
            for number, block in enumerate(cast(list[Json], content)):
                if block["type"] == kind:
                    return place, number, block
    raise AssertionError(kind)


def blocks(body: Json, place: int) -> list[Json]:
    return cast(list[Json], messages(body)[place]["content"])


def put(**fields: object) -> Callable[[Json], None]:
    return lambda body: body.update(fields)


def edit(kind: str, **fields: object) -> Callable[[Json], None]:
    return lambda body: first(body, kind)[2].update(fields)


def insert(place: int, message: object) -> Callable[[Json], None]:
    """Insert behind the message of the first call (0) or at its end (1)."""

    def change(body: Json) -> None:
        at = first(body, "tool_use")[0] + 1
        cast(list[object], body["messages"]).insert(at + place, message)

    return change


def _unanswer(body: Json) -> None:
    place, number, block = first(body, "tool_result")
    blocks(body, place)[number] = {"type": "text", "text": str(block["tool_use_id"])}


def _talk_first(body: Json) -> None:
    place, _, _ = first(body, "tool_result")
    blocks(body, place).insert(0, {"type": "text", "text": "wait"})


def _ask_twice(body: Json) -> None:
    place, number, block = first(body, "tool_use")
    blocks(body, place).insert(number, dict(block))


def _end_on_the_assistant(body: Json) -> None:
    while messages(body)[-1]["role"] != "assistant":
        messages(body).pop()


def _mark_everything(body: Json) -> None:
    mark = {"type": "ephemeral"}
    parts = [{"type": "text", "text": "x", "cache_control": mark}] * 5
    messages(body).insert(0, {"role": "user", "content": parts})


def _tear(body: Json) -> None:
    search = {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": EMPTY,
    }
    place, _, _ = first(body, "tool_use")
    messages(body)[place:place] = [
        {"role": "assistant", "content": [search]},
        {"role": "user", "content": "go on"},
    ]


def _in_the_users(body: Json) -> None:
    call = {"type": "tool_use", "id": "toolu_x", "name": "f", "input": EMPTY}
    messages(body).insert(0, {"role": "user", "content": [call]})


def _manual(body: Json) -> None:
    place, _, _ = first(body, "tool_use")
    content = blocks(body, place)
    content[:] = [block for block in content if block["type"] != "thinking"]
    del messages(body)[place + 1 :]
    answers = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": ""}
        for block in content
        if block["type"] == "tool_use"
    ]
    messages(body).append({"role": "user", "content": answers})
    body.update(model="claude-opus-4-6", max_tokens=2048)
    body["thinking"] = {"type": "enabled", "budget_tokens": 1024}


def _bad_image(body: Json) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
    picture = {"type": "image", "source": source}
    messages(body).insert(0, {"role": "user", "content": [picture]})


def _cited(body: Json) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "x"}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    messages(body).insert(0, {"role": "user", "content": [document]})
    body["output_config"] = {"format": {"type": "json_schema", "schema": EMPTY}}


def _unlimited(body: Json) -> None:
    del body["max_tokens"]


def _rename_role(body: Json) -> None:
    messages(body)[0]["role"] = "tool"


def _direct_first(body: Json) -> None:
    messages(body).insert(0, {"role": "system", "content": "x"})


def _say(*said: Json) -> Callable[[Json], None]:
    return lambda body: messages(body).extend(said)


def _leave(body: Json) -> None:
    """The fault is in the context."""


class Mutation(NamedTuple):
    """A change that breaks exactly what one rule is there for."""

    rule: str
    change: Callable[[Json], None]
    context: Context = Context(verify=Checks())


SCOPED: Json = {"role": "system", "content": "x", "clear_at": "next_user_message"}
SUMMARY: Json = {"type": "compaction", "content": "x", "signature": "y"}
MUTATIONS = (
    Mutation("R1", put(temperature=1)),
    Mutation("R2", _unlimited),
    Mutation("R3", put(messages=[])),
    Mutation("R4", _rename_role),
    Mutation("R6", edit("text", text=" ")),
    Mutation("R7", _end_on_the_assistant),
    Mutation("R8", _unanswer),
    Mutation("R9", edit("tool_result", tool_use_id="toolu_unknown")),
    Mutation("R10", _talk_first),
    Mutation("R11", _ask_twice),
    Mutation("R12", _tear),
    Mutation("R13", insert(0, {"role": "system", "content": "x"})),
    Mutation("R14", _in_the_users),
    Mutation("R15", edit("tool_use", input=None)),
    Mutation("R16", edit("tool_use", toolset_name="t")),
    Mutation("R18", edit("thinking", signature="forged")),
    Mutation("R19", _manual),
    Mutation("R20", put(thinking={"type": "enabled", "budget_tokens": 1024})),
    Mutation("R22", put(system="another prompt")),
    Mutation("R24", _mark_everything),
    Mutation("R25", _direct_first),
    Mutation("R26", _say(SCOPED, {"role": "user", "content": "x"}), Context(BETAS)),
    Mutation("R27", _say({"role": "user", "content": [SUMMARY]}), Context(BETAS)),
    Mutation("R28", put(tools=[{"name": "f", "input_schema": {"type": "string"}}])),
    Mutation("R29", put(tool_choice={"type": "tool", "name": "g"})),
    Mutation("R30", _bad_image),
    Mutation(
        "R31",
        _leave,
        Context(count_tokens=length, limits=ApiLimits(context_window=1)),
    ),
    Mutation("R32", put(stop_sequences=["\n"])),
    Mutation("R33", put(diagnostics={"previous_message_id": "6f1c"})),
    Mutation("R34", _cited),
)
TOLERANT = {"R5", "R17", "R21", "R23"}


def test_every_rule_that_forbids_something_has_a_planted_fault() -> None:
    assert {m.rule for m in MUTATIONS} | TOLERANT == {rule.id for rule in RULES}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.rule)
@given(body=legal())
@settings(max_examples=examples(25))
def test_a_planted_fault_is_found(mutation: Mutation, body: Json) -> None:
    broken = copy.deepcopy(body)

    mutation.change(broken)

    assert mutation.rule in {f.rule for f in check(broken, mutation.context)}


@given(legal())
@settings(max_examples=examples(25))
def test_tolerated_forms_are_accepted(body: Json) -> None:
    """Split messages (R5, R17), foreign thinking (R21), moved marks and trims (R23)."""
    changed = copy.deepcopy(body)
    split: list[object] = []
    for message in messages(changed):
        content = message["content"]
        parts = cast(list[Json], content) if isinstance(content, list) else [None]
        if parts == [None]:
            split.append(message)
            continue
        for part in parts:
            if part is not None and part["type"] == "thinking":
                part["signature"] = "issued for another model"
            split.append({"role": message["role"], "content": [part]})
    changed["messages"] = split
    changed.pop("cache_control", None)

    assert list(check(changed, Context(verify=Checks()))) == []
