"""The resendable form: a confirmed reply in a form that the server takes back.

The server emits parts that it refuses in requests: blank text, a null tool input, ids and
names out of their pattern, fields that exist only in answers. The record of a reply stays
as received; later requests carry this form of it. It is a pure function of the record, so
the bytes are the same live, after a reload and in every request.

Each block type has a whitelist. A reply that is already legal, as nearly all are, keeps its
bytes. A block of an unknown type is left alone: the server judges it, and the remedies
react. Lone surrogates are replaced in every block; unsigned thinking is left out.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from itertools import count
from typing import Any, Final, TypeAlias, cast

from turnlatch_states.api.json_bytes import encode, spans

_PLAIN: Final = b'{"type":"text","text":"'

_ANSWER: Final = frozenset({"type", "tool_use_id", "content"})
_CITED: Final = frozenset({"type", "cited_text", "document_index", "document_title"})

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"type", "text", "citations"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "tool_use": frozenset({"type", "id", "name", "input", "caller", "toolset_name"}),
    "server_tool_use": frozenset({"type", "id", "name", "input", "caller"}),
    "web_search_tool_result": _ANSWER | {"caller"},
    "web_fetch_tool_result": _ANSWER | {"caller"},
    "advisor_tool_result": _ANSWER,
    "code_execution_tool_result": _ANSWER,
    "bash_code_execution_tool_result": _ANSWER,
    "text_editor_code_execution_tool_result": _ANSWER,
    "tool_search_tool_result": _ANSWER,
    "mcp_tool_use": frozenset({"type", "id", "name", "input", "server_name"}),
    "mcp_tool_result": _ANSWER | {"is_error"},
    "mcp_tool_listing": frozenset({"type", "mcp_server_name", "tools"}),
    "container_upload": frozenset({"type", "file_id"}),
    "compaction": frozenset(
        {"type", "content", "encrypted_content", "signature", "tool_changes"}
    ),
    "fallback": frozenset({"type", "from", "to", "trigger"}),
}
"""The fields that each block type may have in a request; other types pass unchanged."""

CITATIONS: Final[Mapping[str, frozenset[str]]] = {
    "char_location": _CITED | {"start_char_index", "end_char_index"},
    "page_location": _CITED | {"start_page_number", "end_page_number"},
    "content_block_location": _CITED | {"start_block_index", "end_block_index"},
}
"""The fields that these citations may have in a request; answers have more."""

_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
_SERVER_ID: Final = re.compile(r"srvtoolu_[a-zA-Z0-9_]+")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_SPOILED: Final = re.compile("[\x00\ud800-\udfff]")


def to_resendable(content: bytes, taken: Collection[str] = ()) -> bytes:
    """The blocks of a reply as they may stand in a request.

    Args:
        content: The blocks as they were received, comma-separated.
        taken: The ids that other calls of the turn are sent with.

    Returns:
        `content` itself where nothing has to change; empty where nothing is left.
    """
    if plainly_legal(content):
        return content
    text = content.decode()
    places = spans(text)
    blocks: list[dict[str, Any]] = [json.loads(text[a:b]) for a, b in places]
    calls = [block.get("id") for block in blocks if block.get("type") == "tool_use"]
    ids = iter(distinct_ids(call_ids(calls), taken))
    made: list[bytes] = []
    changed = False
    for block, (start, end) in zip(blocks, places, strict=True):
        raw, found = text[start:end], block
        if block.get("type") == "tool_use":
            found = _identified(block, next(ids))
        legal = _legal(found, escaped="\\u" in raw)
        if legal is block:
            made.append(raw.encode())
            continue
        changed = True
        if legal is not None:
            made.append(encode(legal))
    return b",".join(made) if changed else content


def plainly_legal(content: bytes) -> bool:
    """True for one text block that is certainly legal, told without parsing it.

    A loaded conversation has thousands of these. It decides nothing that the whitelist
    would decide otherwise; a property test holds it to that.
    """
    if not (content.startswith(_PLAIN) and content.endswith(b'"}')):
        return not content
    said = content[len(_PLAIN) : -2]
    # A quote that opens something more is never behind a backslash.
    return (
        0x20 < (said or b" ")[0] < 0x7F
        and said[0] not in b'\\"'
        and said.count(b'"') == said.count(b'\\"')
        and b"\\u" not in said
    )


def resendable_id(id_: object) -> str:
    """A tool-call id as it may be sent: itself, or a stable name made from it."""
    text = str(id_)
    return text if _ID.fullmatch(text) else _made_id(text)


def call_ids(given: Iterable[object]) -> list[str]:
    """Unique ids for the calls of one reply, in their order.

    A call keeps the id that the model gave it if that is legal and no other call of the
    reply has it. Some servers give one id to several calls, or none at all.
    """
    return distinct_ids(resendable_id("" if id_ is None else id_) for id_ in given)


def distinct_ids(
    legal: Iterable[str], taken: Collection[str] = (), where: str = ""
) -> list[str]:
    """Some ids, with a stable name in the place of each that another call has, too.

    Args:
        legal: The ids, each of them legal.
        taken: The ids of calls that are not among them.
        where: A text that makes these names differ from names made elsewhere.
    """
    ids = list(legal)
    often = Counter(ids)
    if len(often) == len(ids) and not any(id_ in taken for id_ in ids):
        return ids
    used = {*taken, *ids}
    numbers = {id_: count(1) for id_ in often}
    found: list[str] = []
    for id_ in ids:
        name = id_
        if often[id_] > 1 or id_ in taken:
            made = (_made_id(f"{id_}\0{where}{number}") for number in numbers[id_])
            name = next(one for one in made if one not in used)
            used.add(name)
        found.append(name)
    return found


def _made_id(text: str) -> str:
    return "toolu_" + sha256(text.encode(errors="surrogatepass")).hexdigest()[:24]


def _identified(block: dict[str, Any], id_: str) -> dict[str, Any]:
    return block if block.get("id") == id_ else {**block, "id": id_}


def _server_id(id_: object) -> str:
    """The same for a call of a server tool, whose ids have another form."""
    text = str(id_)
    if _SERVER_ID.fullmatch(text):
        return text
    return "srvtoolu_" + sha256(text.encode(errors="surrogatepass")).hexdigest()[:24]


def _legal(block: dict[str, Any], *, escaped: bool) -> dict[str, Any] | None:
    """The block itself if it is legal, a legal one in its place, or None for none."""
    type_ = block.get("type")
    if not isinstance(type_, str):
        return None
    repair = _REPAIRS.get(type_)
    found = block if repair is None else repair(block)
    if found is not None and escaped and _torn(found):
        if type_ in ("thinking", "redacted_thinking"):
            return None  # a signature holds for what was signed, to the letter
        found = cast("dict[str, Any]", mended_value(found))
    allowed = FIELDS.get(type_)
    if found is None or allowed is None or found.keys() <= allowed:
        return found
    return {name: value for name, value in found.items() if name in allowed}


def _text(block: dict[str, Any]) -> dict[str, Any] | None:
    text, cited = block.get("text"), block.get("citations")
    if not isinstance(text, str) or not text.strip():
        return None
    found = block
    if _SPOILED.search(text):
        found = {**found, "text": mended(text)}
    if isinstance(cited, list):
        given = cast("list[object]", cited)
        kept = [_citation(one) for one in given]
        if any(new is not old for new, old in zip(kept, given, strict=True)):
            found = {**found, "citations": kept}
    elif "citations" in found:
        found = {name: v for name, v in found.items() if name != "citations"}
    return found


def _citation(given: object) -> object:
    """A citation without what exists in answers only; itself if it has nothing of it."""
    if not isinstance(given, dict):
        return given
    cited = cast("dict[str, object]", given)
    allowed = CITATIONS.get(str(cited.get("type")))
    if allowed is None or cited.keys() <= allowed:
        return cited
    return {name: value for name, value in cited.items() if name in allowed}


def _call(block: dict[str, Any]) -> dict[str, Any]:
    name = block.get("name")
    given: object = block.get("input")
    found: dict[str, Any] = block
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        found = {
            **found,
            "name": re.sub(r"[^a-zA-Z0-9_-]", "_", str(name))[:128] or "_",
        }
    if not isinstance(given, dict):
        found = {**found, "input": {}}
    elif (whole := mended_value(cast("object", given))) != given:
        found = {**found, "input": whole}
    if found.get("caller", "") is None or found.get("toolset_name", "") is None:
        found = {n: v for n, v in found.items() if v is not None}
    return found


def _thought(block: dict[str, Any]) -> dict[str, Any] | None:
    """Thinking, if it has its signature: the API refuses thinking without one."""
    if not isinstance(block.get("thinking"), str) or not block.get("signature"):
        return None
    return block


def _redacted(block: dict[str, Any]) -> dict[str, Any] | None:
    return block if block.get("data") else None


def _summary(block: dict[str, Any]) -> dict[str, Any] | None:
    return None if block.get("content") == "" else block


def _served(block: dict[str, Any]) -> dict[str, Any]:
    """A call of the server's own tool."""
    found = _renamed(block, "id", _server_id)
    return found if isinstance(found.get("input"), dict) else {**found, "input": {}}


def _remote(block: dict[str, Any]) -> dict[str, Any]:
    """A call of a tool that the server calls elsewhere."""
    found = _renamed(block, "id", resendable_id)
    return found if isinstance(found.get("input"), dict) else {**found, "input": {}}


def _renamed(
    block: dict[str, Any], field: str, name: Callable[[object], str]
) -> dict[str, Any]:
    """The block with an id in its form; a call and its result are renamed alike."""
    id_ = block.get(field)
    return block if name(id_) == id_ else {**block, field: name(id_)}


_Repair: TypeAlias = Callable[[dict[str, Any]], dict[str, Any] | None]

_REPAIRS: Final[Mapping[str, _Repair]] = {
    **dict.fromkeys(
        (name for name in FIELDS if name.endswith("_tool_result")),
        lambda block: _renamed(block, "tool_use_id", _server_id),
    ),
    "text": _text,
    "thinking": _thought,
    "redacted_thinking": _redacted,
    "tool_use": _call,
    "server_tool_use": _served,
    "mcp_tool_use": _remote,
    "mcp_tool_result": lambda block: _renamed(block, "tool_use_id", resendable_id),
    "compaction": _summary,
}


def _torn(value: object) -> bool:
    """True if some text in a value has a lone surrogate."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def mended(text: str) -> str:
    """A text with what cannot travel replaced, character for character."""
    return _SPOILED.sub("\ufffd", text)


def mended_value(value: object) -> object:
    """A JSON value with what cannot travel replaced in every text of it."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value).items()
        return {mended(name): mended_value(one) for name, one in pairs}
    if isinstance(value, list):
        return [mended_value(one) for one in cast("list[object]", value)]
    return value
