"""What is said is checked when it is given: what no request can say is never stored.

The rules of the API are asked themselves, so there is no second list to fall behind.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.world import World

from turnlatch import Conversation, SettingsError, TurnState
from turnlatch.content import input_key, pin_name, pin_text, user_blocks
from turnlatch.runtime.preflight import findings
from turnlatch.simulator import call, reply
from turnlatch_states.api.json_bytes import encode
from turnlatch_states.api.reply import Reply
from turnlatch_states.api.rules import ApiLimits
from turnlatch_states.machine import events as ev
from turnlatch_states.machine.snapshot import Snapshot
from turnlatch_states.machine.step import begin, step
from turnlatch_states.request.history import user_message
from turnlatch_states.request.pins import pinned_blocks
from turnlatch_states.request.profile import Profile

PROFILE = Profile("claude-opus-5", 1024)
HALF = "\ud83d"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)

Block: TypeAlias = dict[str, Any]
MARK: Block = {"cache_control": {"type": "ephemeral"}}


def text(words: Any) -> Block:
    """A text block."""
    return {"type": "text", "text": words}


def image(data: str, media: str = "image/png") -> Block:
    """An image that travels with the message."""
    source = {"type": "base64", "media_type": media, "data": data}
    return {"type": "image", "source": source}


def found(*parts: Block) -> Block:
    """A search result."""
    return {"type": "search_result", "source": "s", "title": "t", "content": [*parts]}


def document(*parts: Block) -> Block:
    """A document that is made of blocks."""
    return {"type": "document", "source": {"type": "content", "content": [*parts]}}


UNSAYABLE: dict[str, Any] = {
    "nothing": "",
    "blank": " \n\u3000",
    "blank among others": [text("a"), text(" ")],
    "half a character": f"a{HALF}b",
    "half a character deep inside": [document(text(HALF))],
    "no text": [text(3)],
    "an unknown type": [{"type": "hologram", "data": "x"}],
    "no type": [{"text": "a"}],
    "an unknown field": [{**text("a"), "colour": "red"}],
    "a result of nobody's": [{"type": "tool_result", "tool_use_id": "toolu_1"}],
    "a call": [{"type": "tool_use", "id": "toolu_1", "name": "x", "input": {}}],
    "a thought": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
    "a picture that is none": [image("bm9uZQ==")],
    "a picture of another type": [image(PIXEL, "image/jpeg")],
    "too many cache marks": [{**text(str(n)), **MARK} for n in range(5)],
    "a cache mark of no kind": [{**text("a"), "cache_control": {"type": "eternal"}}],
    "more bytes than a request may have": "a" * ApiLimits().request_bytes_max,
    "no JSON": [text({1, 2})],
    "no number": [text(float("nan"))],
}


async def saying(chat: Conversation, method: str, content: Any) -> None:
    """Say it by that method."""
    if method == "stream":
        await chat.stream(content).turn()
    else:
        await getattr(chat, method)(content)


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["send", "stream", "steer"])
async def test_content_that_is_illegal_in_every_request_is_refused_at_once(
    world: World, method: str
) -> None:
    world.script("Hello.", "On we go.")
    async with world.open() as chat:
        await chat.send("Hi")
        before = chat.snapshot
        for what, content in UNSAYABLE.items():
            if method != "steer" and what == "more bytes than a request may have":
                continue  # once is enough: it takes seconds
            with pytest.raises(SettingsError) as caught:
                await saying(chat, method, content)
            assert caught.value.setting == "content", what
            assert chat.snapshot == before, what
        assert (await chat.send("Go on")).state is TurnState.CONFIRMED
    assert len(world.bodies) == 2


@pytest.mark.anyio
async def test_a_stream_raises_it_when_it_is_called_not_when_it_is_watched(
    world: World,
) -> None:
    async with world.open() as chat:
        with pytest.raises(SettingsError):
            chat.stream(" ")


@pytest.mark.anyio
async def test_the_refusal_names_the_block_and_the_rule(world: World) -> None:
    async with world.open() as chat:
        with pytest.raises(SettingsError, match=r"block 1: .*\(R6\)"):
            await chat.send([text("a"), text(" ")])


@pytest.mark.anyio
async def test_a_call_that_waits_for_a_person_is_not_closed_by_what_is_refused(
    world: World,
) -> None:
    world.script(call("ask", what="a"), "Done.")
    async with world.open() as chat:
        waiting = (await chat.send("Go")).awaiting
        with pytest.raises(SettingsError):
            await chat.send("")
        turn = await chat.approve(waiting[0].id)
        assert turn.text == "Done."
    assert world.ran == ["ask a"]


# The rules are asked, and nothing else is: over any content, in a whole request.

_WORDS = st.one_of(
    st.text(max_size=6), st.sampled_from(["", " ", "a", HALF, "\x00", "\u2028"])
)


def marked(words: str) -> Block:
    """A text block with a cache mark."""
    return {**text(words), **MARK}


def result(content: str) -> Block:
    """A result of a call that nobody made."""
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}


_TEXTS = st.builds(text, _WORDS)
_MARKED = st.builds(marked, _WORDS)
_BLOCKS: st.SearchStrategy[Block] = st.one_of(
    _TEXTS,
    _MARKED,
    st.builds(image, st.sampled_from([PIXEL, "", "bm9uZQ==", "?"])),
    st.builds(found, _TEXTS),
    st.builds(document, st.one_of(_TEXTS, _MARKED)),
    st.builds(result, _WORDS),
    st.sampled_from(
        [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "hologram"},
            {"type": "text"},
            {},
            {"type": "text", "text": "a", "colour": "red"},
        ]
    ),
)
_CONTENT = st.one_of(_WORDS, st.lists(_BLOCKS, min_size=1, max_size=3))


def stands(content: bytes) -> Snapshot:
    """A conversation with a past in which these blocks are staged."""
    meta = {"id": "msg_1", "model": PROFILE.model, "stop_reason": "end_turn"}
    said = Reply(encode(text("Hello.")), json.dumps({**meta, "usage": {}}).encode())
    snapshot = begin(ev.ConversationOpened(PROFILE))
    for event in (
        ev.TurnOpened(1, encode(text("Hi"))),
        ev.RequestSent(1, 1),
        ev.ReplyConfirmed(1, 1, said),
        ev.TurnOpened(2, content),
    ):
        snapshot = step(snapshot, event).snapshot
    return snapshot


def plainly(content: Any) -> bytes:
    """The same content as blocks, unchecked."""
    blocks = [text(content)] if isinstance(content, str) else content
    return b",".join(map(encode, blocks))


def agrees(content: Any, blocks_of: Callable[[object, Profile], bytes]) -> bool:
    """True if it is refused exactly where a whole request with it breaks a rule."""
    try:
        blocks = blocks_of(content, PROFILE)
    except SettingsError:
        return bool(findings(stands(plainly(content))))
    return not findings(stands(blocks))


@given(_CONTENT)
def test_content_is_refused_exactly_where_a_request_with_it_would_be(
    content: Any,
) -> None:
    assert agrees(content, user_blocks)


@pytest.mark.parametrize("shown_by", ["nothing", "a result of nobody's"])
def test_a_check_that_is_left_out_is_caught(shown_by: str) -> None:
    def planted(content: object, profile: Profile) -> bytes:
        return plainly(content)

    assert not agrees(UNSAYABLE[shown_by], planted)


@given(_CONTENT)
def test_no_cache_mark_is_kept_with_a_message(content: Any) -> None:
    try:
        blocks = user_blocks(content, PROFILE)
    except SettingsError:
        return
    assert b'"cache_control"' not in blocks.replace(rb"\"", b"")


# Pins, keys.

PINS: dict[str, tuple[Any, Any, str]] = {
    "no text": ("task", 3, "text"),
    "nothing": ("task", "", "text"),
    "blank": ("task", " \n", "text"),
    "half a character": ("task", HALF, "text"),
    "no name": ("", "words", "name"),
    "a blank name": (" ", "words", "name"),
    "a long name": ("n" * 201, "words", "name"),
    "a name that is none": (7, "words", "name"),
    "half a character in the name": (HALF, "words", "name"),
}


@pytest.mark.anyio
async def test_a_pin_that_no_summary_can_say_is_refused_and_not_pinned(
    world: World,
) -> None:
    async with world.open() as chat:
        before = chat.snapshot
        for what, (name, words, setting) in PINS.items():
            with pytest.raises(SettingsError) as caught:
                await chat.pin(name, words)
            assert caught.value.setting == setting, what
        with pytest.raises(SettingsError):
            await chat.unpin(7)  # type: ignore[arg-type] # not a name, on purpose
        assert chat.snapshot == before


def test_pins_that_are_too_long_together_are_refused() -> None:
    half = "a" * (ApiLimits().request_bytes_max // 2)
    assert pin_text("one", half, (), PROFILE) == half
    assert pin_text("one", half, (("one", half),), PROFILE) == half, "it is replaced"
    with pytest.raises(SettingsError):
        pin_text("two", half, (("one", half),), PROFILE)


@given(st.text(max_size=8), st.one_of(st.text(max_size=8), st.just(HALF)))
def test_every_accepted_pin_can_be_sent_word_for_word(name: str, words: str) -> None:
    try:
        pins = ((pin_name(name), pin_text(name, words, (), PROFILE)),)
    except SettingsError:
        return
    said = pinned_blocks(pins)
    body = {
        **PROFILE.as_body(),
        "messages": [json.loads(user_message(said))],
    }
    assert findings_of(body) == []
    assert words in body["messages"][0]["content"][0]["text"] or "\x00" in words


def findings_of(body: Block) -> list[str]:
    """What the rules say of a body."""
    from turnlatch_states.api.rules import check

    return [one.message for one in check(body)]


@pytest.mark.parametrize("key", [3, b"k", HALF, ["k"]])
def test_a_key_that_cannot_be_stored_is_refused(key: Any) -> None:
    with pytest.raises(SettingsError):
        input_key(key)


async def _steered(chat: Conversation) -> None:
    await chat.steer("a", key=HALF)


async def _sent(chat: Conversation) -> None:
    await chat.send("a", key=7)  # type: ignore[call-overload] # not a key, on purpose


@pytest.mark.anyio
@pytest.mark.parametrize("says", [_steered, _sent])
async def test_a_wrong_key_says_nothing(
    world: World, says: Callable[[Conversation], Awaitable[None]]
) -> None:
    async with world.open() as chat:
        before = chat.snapshot
        with pytest.raises(SettingsError):
            await says(chat)
        assert chat.snapshot == before


@pytest.mark.anyio
async def test_content_that_only_the_moment_refuses_is_accepted(world: World) -> None:
    """The context is nearly full: that is no reason to refuse words."""
    answer = reply("Hello.")
    world.script(attrs.evolve(answer), "There is room again.")
    async with world.open() as chat:
        await chat.send("a " * 100_000)
        assert await chat.steer("b " * 100_000) is False
