"""What a tool returns reaches the model: all of it, as what it is, or with a note."""

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch import Blocks
from turnlatch.tools import fit_result
from turnlatch.tools.jsonable import NoJsonError


def block(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)
    return found


PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)
IMAGE: Mapping[str, Any] = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PNG},
}
SEE: Mapping[str, Any] = {"type": "text", "text": "see"}


@pytest.mark.parametrize(
    "value",
    [
        Blocks(["see", IMAGE]),
        Blocks([SEE, IMAGE]),
        [SEE, IMAGE],
        (SEE, {**IMAGE, "cache_control": {"type": "ephemeral"}}),
    ],
)
def test_blocks_are_sent_as_blocks(value: object) -> None:
    result, kept = fit_result("t", value, bytes_max=9)

    assert block(result)["content"] == [SEE, IMAGE]
    assert kept == b""


def test_blocks_of_text_alone_are_blocks_where_the_tool_says_so() -> None:
    said, _ = fit_result("t", Blocks(["a", SEE]), bytes_max=99)
    unsaid, _ = fit_result("t", [SEE], bytes_max=99)

    assert block(said)["content"] == [{"type": "text", "text": "a"}, SEE]
    assert json.loads(block(unsaid)["content"]) == [SEE]


@pytest.mark.parametrize("given", ["see", SEE, b"see", None, 5], ids=repr)
def test_single_block_is_not_split_into_letters_or_keys(given: Any) -> None:
    with pytest.raises(TypeError, match="Blocks takes a list of blocks"):
        Blocks(given)


@pytest.mark.parametrize(
    "value",
    [[Blocks([SEE])], {"a": Blocks([SEE])}, Blocks(cast("Any", [Blocks([SEE])]))],
    ids=["list", "object", "blocks"],
)
def test_nested_blocks_are_refused_and_not_sent_as_data(
    value: object,
) -> None:
    with pytest.raises(NoJsonError, match="is Blocks: only what a tool returns itself"):
        fit_result("t", value, bytes_max=4096)


@pytest.mark.parametrize(
    "nothing", [Blocks([]), Blocks(["", " "]), "", " ", None, b""], ids=repr
)
def test_nothing_is_a_result_without_content(nothing: object) -> None:
    result, _ = fit_result("t", nothing, bytes_max=99)

    assert "content" not in block(result)


LOOKALIKES: tuple[Any, ...] = (
    {"type": "text", "text": "a row"},
    [{"type": "text", "text": ""}],
    [{"type": "text", "text": "a", "lang": "en"}, IMAGE],
    [{"type": "image", "data": "aGk=", "mimeType": "image/png"}],
    [{"type": "resource_link", "uri": "file:///a", "name": "a"}, SEE, IMAGE],
    [{"type": "document", "source": "https://a.test", "title": "a row"}],
    [{"type": "search_result", "source": "s", "title": "t", "content": "a row"}],
    [{"type": "tool_reference", "tool_name": "t", "count": 3}],
    [IMAGE, None],
    [[IMAGE]],
    {"content": [SEE], "isError": True},
    [],
    {},
)


@pytest.mark.parametrize("data", LOOKALIKES)
def test_data_that_looks_like_blocks_is_data(data: object) -> None:
    result, _ = fit_result("t", data, bytes_max=4096)

    assert whole(block(result).get("content"), data)
    assert isinstance(block(result)["content"], str)


def whole(content: object, data: object) -> bool:
    """The claim, as a checker: the model sees all that the tool returned."""
    seen = json.loads(content) if isinstance(content, str) else content
    return bool(seen == data)


def test_the_check_sees_a_row_that_was_left_out_and_one_that_a_note_stands_for() -> (
    None
):
    """Planted: what a reader of types alone makes of rows that have a type."""
    rows = [SEE, {"type": "text", "text": ""}, {"type": "image", "data": "x"}]
    note = {"type": "text", "text": "[Left out: Field required]"}

    assert whole(json.dumps(rows), rows)
    assert not whole([SEE, rows[2]], rows)
    assert not whole([SEE, rows[1], note], rows)


NAMES = st.sampled_from(
    ["type", "text", "source", "title", "content", "data", "tool_name", "a", ""]
)
WORDS = st.sampled_from(["text", "image", "document", "search_result", "base64", "x"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(NAMES, inner, max_size=4)
    typed = st.fixed_dictionaries({"type": WORDS}, optional={"text": inner})
    return st.lists(inner, max_size=4) | objects | typed


def is_data(value: Any) -> bool:
    return value is not None and not isinstance(value, str)


DATA: st.SearchStrategy[Any] = st.recursive(LEAVES, nested, max_leaves=8)


@given(DATA.filter(is_data))
def test_any_data_is_seen_whole(data: object) -> None:
    result, kept = fit_result("t", data, bytes_max=1 << 20)

    assert whole(block(result)["content"], data)
    assert kept == b""


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ({**IMAGE, "source": {**IMAGE["source"], "data": "aGk="}}, "not process image"),
        (
            {**IMAGE, "source": {**IMAGE["source"], "media_type": "image/jpeg"}},
            "appears to be a image/png",
        ),
        ({"type": "text", "text": "see", "odd": 1}, "Extra inputs are not permitted"),
        ({"type": "search_result", "source": "s"}, "Field required"),
        ({"type": "image", "data": "aGk=", "mimeType": "image/png"}, "Field required"),
        ({"type": "audio", "data": "aGk="}, "Input tag 'audio' found"),
        ({"no": "type"}, "Field required"),
    ],
)
def test_a_note_stands_for_a_block_that_the_api_would_refuse(
    refused: dict[str, Any], says: str
) -> None:
    fine = {"type": "text", "text": "fine"}
    result, kept = fit_result("t", Blocks([fine, refused]), bytes_max=4096)

    first, second = block(result)["content"]
    assert first == fine
    assert second["type"] == "text"
    assert says in second["text"]
    assert json.loads(kept) == [fine, refused], "what was left out is on record"


def test_picture_that_cannot_be_sent_is_not_sent_as_text() -> None:
    """Its bytes as JSON would fill the window, and show nothing."""
    broken = {**IMAGE, "source": {**IMAGE["source"], "media_type": "image/bmp"}}
    result, _ = fit_result("t", [broken], bytes_max=4096)

    (note,) = block(result)["content"]
    assert "image block cannot be sent" in note["text"]


def test_long_blocks_are_cut_and_kept_whole_elsewhere() -> None:
    blocks = [{"type": "text", "text": f"{n}" * 1000} for n in range(3)]
    result, kept = fit_result("t", Blocks(blocks), bytes_max=1500)

    assert json.loads(kept) == blocks
    first, second, third = block(result)["content"]
    assert first == blocks[0]
    assert len(second["text"]) < 600
    assert "kept in the journal" in second["text"]
    assert "1 more blocks left out; all are kept in the journal" in third["text"]


def test_unsendable_value_is_mended_deep_inside_a_block() -> None:
    found = {
        "type": "search_result",
        "source": "s",
        "title": "half \ud83d",
        "content": [{"type": "text", "text": "nul \x00"}],
        "cache_control": {"type": "ephemeral"},
    }
    result, _ = fit_result("t", [found], bytes_max=4096)

    (one,) = block(result)["content"]
    assert one["title"] == "half \ufffd"
    assert one["content"][0]["text"] == "nul \ufffd"
    assert "cache_control" not in one


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("half \ud83d", "half \ufffd"),
        ({"half \ud83d": ["\udc00"]}, '{"half \ufffd": ["\ufffd"]}'),
        ({"nul": "\x00"}, '{"nul": "\\u0000"}'),
    ],
)
def test_half_a_surrogate_is_mended_in_text_and_in_data(
    value: object, seen: str
) -> None:
    result, _ = fit_result("t", value, bytes_max=4096)

    assert block(result)["content"] == seen


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_a_long_output_is_cut_in_the_middle_and_says_how_much_and_where_it_is(
    letter: str,
) -> None:
    whole = letter * 1000
    result, kept = fit_result("t", whole, bytes_max=100)

    content = block(result)["content"]
    assert kept == whole.encode()
    assert content.startswith(letter * (66 // len(letter.encode())))
    assert content.endswith(letter * (33 // len(letter.encode())))
    left = len(kept) - content.count(letter) * len(letter.encode())
    assert f"{left} bytes left out; {len(kept)} in all, kept in the journal" in content


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.text().map(str.encode),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(VALUES, st.booleans(), st.integers(1, 80))
def test_any_value_becomes_one_legal_result(
    value: object, is_error: bool, bytes_max: int
) -> None:
    """No surrogates, no blank text, no NaN, never too long by more than the note."""
    result, _ = fit_result("toolu_1", value, bytes_max=bytes_max, is_error=is_error)

    made = block(result)
    result.decode()
    assert made["tool_use_id"] == "toolu_1"
    content = made.get("content")
    assert content is None or content.strip()
    assert content is None or len(content.encode()) <= bytes_max + 120
    if is_error:
        assert isinstance(content, str)
