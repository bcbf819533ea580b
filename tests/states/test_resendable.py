"""What the server said may be sent back, whatever it said; the record stays as it was."""

import json
from typing import Any, TypeAlias, get_args

from anthropic.types.beta import (
    BetaContentBlock,
    BetaTextCitation,
    BetaTextCitationParam,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.part import examples
from tests.states.conversation_strategies import PROFILE
from tests.states.strategies import text
from typing_extensions import get_type_hints

from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.api.resendable import (
    CITATIONS,
    FIELDS,
    plainly_legal,
    resendable_id,
    to_resendable,
)
from turnlatch_states.api.rules import Context, Finding, check

# The table is private; what is tested is that this one follows it.
from turnlatch_states.api.rules._blocks import BLOCKS
from turnlatch_states.machine.synthetic_results import closed_result
from turnlatch_states.request.build import build
from turnlatch_states.request.history import (
    Exchange,
    History,
    assistant_message,
    user_message,
)
from turnlatch_states.request.profile import Profile

BETAS = frozenset({"mcp-client-2025-11-20", "advisor-tool-2026-03-01"})
REMOTE = {"type": "url", "name": "docs", "url": "https://example.org/mcp"}
SERVED = Profile(
    PROFILE.model,
    PROFILE.max_tokens,
    (*PROFILE.settings, ("mcp_servers", encode([REMOTE]))),
)
META = encode({"id": "msg_1", "stop_reason": "tool_use", "usage": {}})

# Any text that JSON can hold: what no person writes, and what no UTF-8 can.
words = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["", " \n", "\x00", "\ud800", "a\udfffb", "a.b", "x" * 200, 'say "x"', "\\", "a\\"]
)
inputs = st.none() | words | st.lists(words) | st.dictionaries(words, words, max_size=2)
Block: TypeAlias = dict[str, Any]
nothing: st.SearchStrategy[Block] = st.just({})


def some(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Block]:
    """A field that may be there."""

    def field(value: Any) -> Block:
        return {name: value}

    return nothing | values.map(field)


extra = some("index", st.integers(0, 9)) | some("parsed", st.none())
CITED: Block = {
    "type": "char_location",
    "cited_text": "a",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
cited = st.sampled_from((CITED, {**CITED, "file_id": None}))


def said(words: str, cited: Block, more: Block) -> list[Block]:
    """A text."""
    return [{"type": "text", "text": words, **cited, **more}]


def thought(words: str, more: Block) -> list[Block]:
    """A thought."""
    return [{"type": "thinking", "thinking": words, "signature": "s==", **more}]


def called(id_: str, name: str, given: Any, *more: Block) -> list[Block]:
    """A call of a tool of ours."""
    block: Block = {"type": "tool_use", "id": id_, "name": name, "input": given}
    return [{**block, **_all(more)}]


def served(id_: str, given: Any, title: str, more: Block) -> list[Block]:
    """A call of a tool of the server's, and what it found."""
    found = {"type": "web_search_result", "title": title, "url": "u"}
    return [
        {"type": "server_tool_use", "id": id_, "name": "web_search", "input": given},
        {
            "type": "web_search_tool_result",
            "tool_use_id": id_,
            "content": [{**found, "encrypted_content": "x"}],
            **more,
        },
    ]


def remote(id_: str, given: Any, more: Block) -> list[Block]:
    """A call that the server made elsewhere, and what came back."""
    call: Block = {"type": "mcp_tool_use", "id": id_, "name": "find", "input": given}
    return [
        {**call, "server_name": "docs", **more},
        {"type": "mcp_tool_result", "tool_use_id": id_, "content": "x", **more},
    ]


groups = st.one_of(
    st.builds(
        said,
        words,
        some("citations", st.none() | st.lists(cited, max_size=2)),
        extra,
    ),
    st.builds(thought, words, extra),
    st.builds(
        called,
        words,
        words,
        inputs,
        some("caller", st.none() | st.just({"type": "direct"})),
        some("toolset_name", st.none()),
        extra,
    ),
    st.builds(served, words, inputs, words, extra),
    st.builds(remote, words, inputs, extra),
)
replies = st.lists(groups, max_size=4).map(
    lambda found: _numbered([block for group in found for block in group])
)


def _all(given: tuple[Block, ...]) -> Block:
    return {name: value for one in given for name, value in one.items()}


def _numbered(blocks: list[Block]) -> list[Block]:
    """Every call has an id of its own, and its result has the same one."""
    made: list[Block] = []
    last = ""
    for number, block in enumerate(blocks):
        if "id" in block:
            last = f"{block['id']}_{number}"
            made.append({**block, "id": last})
        elif "tool_use_id" in block:
            made.append({**block, "tool_use_id": last})
        else:
            made.append(block)
    return made


def wired(blocks: list[Any], spaced: bool = False) -> bytes:
    """Blocks as some server writes them."""
    if spaced:
        return ", ".join(map(json.dumps, blocks)).encode()
    return b",".join(map(encode, blocks))


def refused(content: bytes) -> list[Finding]:
    """What the rules say of a conversation that goes on after such a reply."""
    reply = Reply(content, META)
    sealed = Exchange.seal(1, encode(text()), reply)
    results = [closed_result(use.id, "done") for use in reply.tool_uses]
    staged = b",".join([*results, encode(text("Go on."))])
    body = build(SERVED, History([sealed]), None, staged)
    return list(check(json.loads(body), Context(betas=BETAS)))


@given(replies, st.booleans())
@settings(max_examples=examples(150))
def test_every_server_reply_can_be_sent_back_with_its_results(
    blocks: list[Block], spaced: bool
) -> None:
    assert refused(wired(blocks, spaced)) == []


@given(replies, st.booleans())
def test_the_record_is_what_was_received(blocks: list[Block], spaced: bool) -> None:
    content = wired(blocks, spaced)
    sealed = Exchange.seal(1, encode(text()), Reply(content, META))

    assert sealed.content == content
    assert sealed.reply == Reply(content, META)
    assert sealed.resendable == to_resendable(content)


@given(replies, st.booleans())
def test_legal_reply_is_sent_back_with_the_same_bytes(
    blocks: list[Block], spaced: bool
) -> None:
    once = to_resendable(wired(blocks, spaced))

    assert to_resendable(once) is once


def test_the_check_sees_a_reply_that_is_sent_back_as_it_came() -> None:
    """Planted: a client that has no resendable form."""
    call: Block = {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {}}
    for block in (text(" "), {**call, "id": "call.1"}, {**call, "input": None}):
        content = encode(block)
        said = user_message(encode(text()))
        wire = said + b"," + assistant_message(content)
        raw = Exchange(1, wire, len(said), len(content), META)
        body = build(SERVED, History([raw]), None, encode(text("Go on.")))

        assert list(check(json.loads(body), Context(betas=BETAS)))


@given(words)
def test_a_call_and_its_result_bear_the_same_legal_id(id_: str) -> None:
    block: Block = {"type": "tool_use", "id": id_, "name": "look", "input": {}}
    reply = Reply(encode(block), META)
    sent = json.loads(to_resendable(reply.content))

    assert reply.tool_uses[0].id == sent["id"] == resendable_id(id_)
    assert resendable_id(resendable_id(id_)) == resendable_id(id_)


def test_input_that_was_cut_off_is_known_by_the_id_it_came_with() -> None:
    block: Block = {"type": "tool_use", "id": "call.1", "name": "look", "input": {}}
    meta = encode({"id": "msg_1", "broken": {"call.1": '{"path'}})
    (use,) = Reply(encode(block), meta).tool_uses

    assert (use.id, use.input, use.broken) == (resendable_id("call.1"), None, '{"path')


# What nobody knows is left alone, unless it is no text.


@given(st.dictionaries(words, words, max_size=3))
def test_unknown_block_is_sent_back_unchanged(more: dict[str, str]) -> None:
    block = {**more, "type": "hologram"}
    content = encode(block)
    sent = to_resendable(content)
    torn = any("\ud800" <= c <= "\udfff" for c in "".join([*more, *more.values()]))

    assert (sent is content) == (not torn)
    sent.decode().encode()  # it travels
    assert all("hologram" in one.reason for one in refused(content))


# The quick look at what is certainly legal.

pieces = st.sampled_from(
    (
        '{"type":"text","text":"',
        '"',
        '"}',
        "},{",
        "\\",
        '\\"',
        "a",
        " ",
        "\\u0000",
        "\\ud800",
        "é",
        ",",
        ":",
        '"citations":null',
        '"citations" : null',
        '"x":"',
    )
)


def slowly(content: bytes) -> bytes:
    """The resendable form, judged block by block: nothing in front is plain then."""
    return to_resendable(b" " + content).removeprefix(b" ")


def agrees(quick: Any, content: bytes) -> bool:
    """The quick look says yes only where nothing is changed by the slow one."""
    return not quick(content) or slowly(content) == content


texts = (words | st.just("a")).flatmap(
    lambda said: st.sampled_from(
        (
            [text(said)],
            [text(said), text("b")],
            [text(said), {}],
            [{**text(said), "citations": None}],
            [{**text(said), "x": {"y": "z"}}],
        )
    )
)


@given(texts, st.sampled_from(((",", ":"), (", ", ": "), (" , ", " : "))))
@settings(max_examples=examples(200))
def test_plainly_legal_reply_passes_the_rules(
    blocks: list[Any], marks: tuple[str, str]
) -> None:
    escaped = json.dumps(blocks, separators=marks)[1:-1].encode()
    assert agrees(plainly_legal, escaped)
    if b"\\ud" not in escaped:
        plain = json.dumps(blocks, ensure_ascii=False, separators=marks)[1:-1]
        assert agrees(plainly_legal, plain.encode())


@given(st.lists(pieces, max_size=8).map("".join))
@settings(max_examples=examples(300))
@example('{"type":"text","text":"a"},{"x":"}')
@example('{"type":"text","text":"a\\\\"}')
def test_no_way_of_writing_json_fools_the_quick_look(middle: str) -> None:
    written = '{"type":"text","text":"' + middle + '"}'
    try:
        json.loads(f"[{written}]")
    except ValueError:
        return

    assert agrees(plainly_legal, written.encode())


def test_the_everyday_reply_is_plainly_legal() -> None:
    for said_ in (
        "Hello",
        'He said "no".',
        "a: b",
        'x = {"a": 1}',
        "Grüße\n\n🙂",
        "\\",
    ):
        assert plainly_legal(encode(text("A" + said_)))
    assert plainly_legal(b"")
    assert not plainly_legal(encode(text("")))


def test_the_check_sees_a_quick_look_that_counts_names() -> None:
    """Planted: the first version of it, which two blocks of foreign hand fooled."""

    def hasty(content: bytes) -> bool:
        start = b'{"type":"text","text":"'
        return content.startswith(start) and content.count(b'":') == 2

    assert not agrees(hasty, b'{"type":"text","text":"a"},{}')
    assert not agrees(hasty, b'{"type":"text","text":"a","citations" :null}')


# The whitelist follows the SDK and the rules.


def test_the_whitelist_is_what_the_rules_allow() -> None:
    for tag, fields in FIELDS.items():
        assert fields == BLOCKS[tag].keys() - {"cache_control"}, tag


def test_every_block_of_a_reply_of_the_sdk_has_a_row() -> None:
    models = get_args(get_args(BetaContentBlock)[0])
    known = {get_args(m.model_fields["type"].annotation)[0] for m in models}

    assert known == FIELDS.keys()


def test_citations_without_a_row_say_no_more_in_answers() -> None:
    """Every other citation of the SDK has the same fields both ways."""
    asked = {
        get_args(get_type_hints(made)["type"])[0]: get_type_hints(made).keys()
        for made in get_args(BetaTextCitationParam)
    }
    for model in get_args(get_args(BetaTextCitation)[0]):
        (tag,) = get_args(model.model_fields["type"].annotation)
        same = set(model.model_fields) == asked[tag]
        assert same == (tag not in CITATIONS), tag
        assert CITATIONS.get(tag, asked[tag]) == asked[tag]
