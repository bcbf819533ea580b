"""Calls and their results: R7 to R17.

All of these look at turns, that is at messages after adjacent ones of a role are merged,
and name places in the array as it was sent.
"""

from collections import Counter
from collections.abc import Collection, Iterator

from turnlatch_states.api.rules._base import (
    VERSION_2026,
    Context,
    Finding,
    is_array,
    is_object,
    member,
)
from turnlatch_states.api.rules._request import Block, Body, RoleTurn
from turnlatch_states.api.rules._rule import Rule, silent

_THINKING = frozenset({"thinking", "redacted_thinking"})


def last_word_is_the_users(request: Body, context: Context) -> Iterator[Finding]:
    """The last message is not from the assistant, except as a prefill or a resumption.

    A paused turn of server tools is resumed by sending it back; an on-demand compaction
    may end anywhere. Where a client call is still open, R8 says so instead. Sources:
    Anthropic docs api/errors (prefill), build-with-claude/handling-stop-reasons.
    Confidence: documented.
    """
    spec, turns = request.spec, request.turns
    if spec is None or not turns or request.body.get("compaction") is not None:
        return
    last = turns[-1]
    if last.role != "assistant" or last.messages[-1].place < 0 or _resumable(last):
        return
    if not spec.prefill:
        if request.body.get("fallback_credit_token") is None:
            yield Finding(
                "R7",
                "",
                "This model does not support assistant message prefill. The conversation "
                "must end with a user message.",
                related=(last.messages[-1].path,),
            )
        return
    text = last.blocks[-1].word("text") if last.blocks else None
    if text and text != text.rstrip():
        reason = "final assistant content cannot end with trailing whitespace"
        yield Finding("R7", "messages", reason)
    for field, obstacle in _prefill_obstacles(request):
        reason = f"assistant message prefill cannot be combined with {obstacle}"
        yield Finding("R7", field, reason)


def _resumable(turn: RoleTurn) -> bool:
    """An open client call, or a reply that ends among server tools."""
    if turn.broken or turn.of("tool_use"):
        return True
    last = turn.blocks[-1].type if turn.blocks else ""
    return bool(_open_server_calls((turn,))) or last.endswith("_tool_result")


def _prefill_obstacles(request: Body) -> Iterator[tuple[str, str]]:
    if member(request.body, "thinking", "type") in ("enabled", "adaptive"):
        yield "thinking", "thinking"
    if member(request.body, "output_config", "format") is not None:
        yield "output_config.format", "`output_config.format`"


def _unanswered(rule: str, request: Body) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The turns whose calls `rule` says are not properly answered."""
    turns = request.turns
    for place, turn in enumerate(turns):
        if turn.role != "assistant" or turn.broken:
            continue
        calls = [block for block in turn.blocks if block.type == "tool_use"]
        if not calls:
            continue
        following = turns[place + 1 : place + 4]  # no answer is looked for further on
        if following and following[0].broken:
            continue
        if not following and request.body.get("compaction") is not None:
            continue  # R27: the compaction of an unfinished turn has its own code
        missing = _missing(calls, following)
        if missing and _blame({block.call for block in missing}, following) == rule:
            sent = missing[0].message
            path = f"messages.{sent}" if sent >= 0 else "messages"
            ids = tuple(dict.fromkeys(block.call for block in missing))
            yield path, ", ".join(ids), ids


def _missing(calls: list[Block], following: tuple[RoleTurn, ...]) -> list[Block]:
    answered: set[str] = set()
    if following and following[0].role == "user":
        for block in following[0].blocks:
            if block.type != "tool_result":
                break
            answered.add(block.call)
    return [block for block in calls if block.call not in answered]


def _blame(missing: Collection[str], following: tuple[RoleTurn, ...]) -> str:
    """Which rule an unanswered call breaks: the answer is late, apart, or not there."""
    next_user = following[0] if following and following[0].role == "user" else None
    if next_user and {b.call for b in next_user.of("tool_result")}.issuperset(missing):
        return "R10"
    later = {
        block.call
        for turn in following[1:]
        if turn.role == "user"
        for block in turn.of("tool_result")
    }
    return "R8" if later.isdisjoint(missing) else "R13"


def _pairing(rule: str, request: Body) -> Iterator[Finding]:
    for path, listed, ids in _unanswered(rule, request):
        yield Finding(
            rule,
            path,
            "`tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{listed}. Each `tool_use` block must have a corresponding `tool_result` "
            "block in the next message.",
            related=ids,
        )


def every_call_is_answered(request: Body, context: Context) -> Iterator[Finding]:
    """Every `tool_use` is answered at the head of the next turn.

    The path names the assistant message. Sources: GitHub anthropics/claude-code#5060
    and #5989; Anthropic docs agents-and-tools/tool-use/handle-tool-calls. Confidence:
    documented, wording seen live.
    """
    yield from _pairing("R8", request)


def results_come_first(request: Body, context: Context) -> Iterator[Finding]:
    """In the turn that answers calls, the results stand before everything else.

    Other content may follow them. Sources and wording as for R8. Confidence: documented.
    """
    yield from _pairing("R10", request)


def nothing_stands_between(request: Body, context: Context) -> Iterator[Finding]:
    """No message of any role stands between a call's turn and the turn of its result.

    Sources and wording as for R8. Confidence: documented.
    """
    yield from _pairing("R13", request)


def every_result_was_asked_for(request: Body, context: Context) -> Iterator[Finding]:
    """Every `tool_result` answers a call of the assistant turn just before it.

    Sources: GitHub router-for-me/CLIProxyAPI#497. Confidence: wording seen live. The
    server's part of a continued thread is unknown here unless it is given.
    """
    before: RoleTurn | None = None
    for place, turn in enumerate(request.turns):
        if turn.role == "user" and not (before is None and request.start_unknown):
            asked = {b.call for b in before.of("tool_use")} if before else set[str]()
            unreadable = before is not None and before.broken
            for block in turn.blocks:
                if block.type != "tool_result" or block.message < 0 or unreadable:
                    continue
                if block.call and block.call not in asked:
                    yield Finding(
                        "R9",
                        block.path,
                        "unexpected `tool_use_id` found in `tool_result` blocks: "
                        f"{block.call}. Each `tool_result` block must have a "
                        "corresponding `tool_use` block in the previous message.",
                        related=(block.call,),
                    )
        # A system message between them is R13's; the result itself is not unexpected.
        if turn.role != "system" or place == 0:
            before = turn if turn.role != "user" else None
    yield from _server_results_were_asked_for(request)


def _server_results_were_asked_for(request: Body) -> Iterator[Finding]:
    """Each result of a server tool stands somewhere after its call."""
    asked: set[str] = set()
    if request.start_unknown:
        return
    for message in request.messages:
        for block in message.blocks:
            if block.type in ("server_tool_use", "mcp_tool_use"):
                asked.add(block.call)
            elif block.type.endswith("_tool_result") and block.call:
                if block.call in asked or message.broken or message.place < 0:
                    continue
                call = "mcp_tool_use" if block.type[0] == "m" else "server_tool_use"
                yield Finding(
                    "R9",
                    block.path,
                    f"unexpected `tool_use_id` found in `{block.type}` blocks: "
                    f"{block.call}. Each `{block.type}` block must have a corresponding "
                    f"`{call}` block before it.",
                    related=(block.call,),
                )


def ids_are_unique(request: Body, context: Context) -> Iterator[Finding]:
    """Call ids are well formed and unique, and a call has at most one result.

    The API was recorded to accept an answered call's id again. Confidence: seen live.
    """
    yield from request.shape_of("R11")
    before: set[str] = set()
    for turn in request.turns:
        answered: Counter[str] = Counter()
        seen: set[str] = set()
        for block in turn.blocks:
            if block.type in ("tool_use", "server_tool_use", "mcp_tool_use"):
                if block.call and (block.call in seen or block.call in before):
                    yield Finding(
                        "R11",
                        block.path,
                        "`tool_use` ids must be unique",
                        related=(block.call,),
                        accepted_too=block.type == "tool_use"
                        and block.call not in seen,
                    )
                seen.add(block.call)
            elif block.type == "tool_result" and block.call:
                answered[block.call] += 1
                if answered[block.call] == 2:
                    yield Finding(
                        "R11",
                        block.path,
                        "each tool_use must have a single result. Found multiple "
                        f"`tool_result` blocks with id: {block.call}",
                        related=(block.call,),
                    )
        before |= seen


def _open_server_calls(turns: tuple[RoleTurn, ...]) -> dict[str, Block]:
    """The server calls of these turns that none of their blocks answers."""
    opened: dict[str, Block] = {}
    for turn in turns:
        for block in turn.blocks:
            if block.type in ("server_tool_use", "mcp_tool_use"):
                opened[block.call] = block
            elif block.type.endswith("_tool_result"):
                opened.pop(block.call, None)
    return opened


def server_calls_are_closed(request: Body, context: Context) -> Iterator[Finding]:
    """A server tool's call and result are not torn apart.

    A call may stay open at the end of a paused turn, or across a user turn that holds
    nothing but the results of client calls made with it; its tool must then still be
    defined. The next turn answers it, or makes more client calls for it (`caller`), and
    then it stays open. Sources: Anthropic docs build-with-claude/handling-stop-reasons,
    agents-and-tools/tool-use/programmatic-tool-calling. Confidence: documented; that the
    path names the message is assumed.
    """
    opened: dict[str, Block] = {}
    for place, turn in enumerate(request.turns):
        if turn.role == "assistant":
            answers = {b.call for b in turn.blocks if b.type.endswith("_tool_result")}
            named = answers | {
                member(b.value, "caller", "tool_id") for b in turn.of("tool_use")
            }
            for call in [call for call in opened if call not in named]:
                yield from _torn(opened.pop(call), "")
            kept = {call: b for call, b in opened.items() if call not in answers}
            opened = {} if turn.broken else {**kept, **_open_server_calls((turn,))}
            client_calls = bool(turn.of("tool_use"))
            following = request.turns[place + 1 : place + 2]
            if opened and following and not _only_results(following[0], client_calls):
                for block in opened.values():
                    yield from _torn(block, "")
                opened = {}
    if not request.continues:
        for block in opened.values():
            name = block.word("name") or ""
            if not _defined(request, block, name):
                yield from _torn(block, f", but no `{name}` tool was provided")


def _only_results(turn: RoleTurn, client_calls: bool) -> bool:
    results = all(block.type == "tool_result" for block in turn.blocks)
    return turn.broken or (turn.role == "user" and client_calls and results)


def _torn(block: Block, ending: str) -> Iterator[Finding]:
    name = block.word("name") or ""
    answer = (
        "mcp_tool_result" if block.type == "mcp_tool_use" else f"{name}_tool_result"
    )
    if name.startswith("tool_search_tool"):
        answer = "tool_search_tool_result"
    yield Finding(
        "R12",
        f"messages.{block.message}" if block.message >= 0 else "messages",
        f"`{name}` tool use with id `{block.call}` was found without a corresponding "
        f"`{answer}` block{ending}",
        related=(block.call,),
    )


def _defined(request: Body, block: Block, name: str) -> bool:
    if block.type == "mcp_tool_use":
        return bool(request.body.get("mcp_servers"))
    # One tool, code_execution, is called by three names.
    stem = "code_execution" if name.endswith("code_execution") else name
    return any(tool.get("name") == stem for _, tool in request.tools)


_PLACES = {
    "tool_use": "assistant",
    "tool_result": "user",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_addition": "system",
    "tool_removal": "system",
}


def blocks_are_in_place(request: Body, context: Context) -> Iterator[Finding]:
    """Calls and thinking are the assistant's, results the user's.

    From version 2026-10-21 a document is not the assistant's, and a text with citations
    not the user's (Anthropic docs: api/migration-2026-10-21). Confidence: documented;
    wording of the thinking and the version rules is assumed.
    """
    strict = context.version >= VERSION_2026
    for message in request.messages:
        if message.role not in ("user", "assistant") or message.place < 0:
            continue
        for block in message.blocks:
            owner = _PLACES.get(block.type)
            if owner is not None and owner != message.role:
                if block.type in _THINKING:
                    reason = "thinking blocks may only be in `assistant` messages"
                    yield Finding("R14", f"{message.path}.content", reason)
                else:
                    reason = f"`{block.type}` blocks can only be in `{owner}` messages"
                    yield Finding("R14", message.path, reason, related=(block.path,))
            elif strict and message.role == "assistant" and block.type == "document":
                reason = "`document` blocks can only be in `user` messages"
                yield Finding("R14", message.path, reason, related=(block.path,))
            elif strict and message.role == "user":
                yield from _cited(block)


def _cited(block: Block) -> Iterator[Finding]:
    """The texts of a user message that carry citations."""
    reason = "citations are only permitted on text in `assistant` messages"
    if block.type == "text" and block.value.get("citations"):
        yield Finding("R14", f"{block.path}.text.citations", reason)
    content = block.value.get("content")
    if block.type == "search_result" and is_array(content):
        for place, part in enumerate(content):
            if member(part, "citations"):
                path = f"{block.path}.search_result.content.{place}.text.citations"
                yield Finding("R14", path, reason)


def inputs_and_results_hold_what_they_may(
    request: Body, context: Context
) -> Iterator[Finding]:
    """A call's input is an object; a result holds known parts, and only text if failed.

    Sources: SDK `tool_result_block_param.py`. Confidence: certain, wording seen live.
    """
    yield from request.shape_of("R15")
    for message in request.messages:
        for block in message.blocks:
            if block.type != "tool_result" or block.value.get("is_error") is not True:
                continue
            content = block.value.get("content")
            if is_array(content) and any(
                is_object(part) and part.get("type") != "text" for part in content
            ):
                yield Finding(
                    "R15",
                    f"{block.path}.tool_result.content",
                    'all content must be type "text" if "is_error" is true',
                )


def toolset_is_echoed(request: Body, context: Context) -> Iterator[Finding]:
    """A result names the same toolset as its call.

    Sources: Anthropic docs agents-and-tools/tool-use. Confidence: documented; the
    wording is ours.
    """
    toolsets: dict[str, object] = {}
    for message in request.messages:
        for block in message.blocks:
            if block.type == "tool_use":
                toolsets[block.call] = block.value.get("toolset_name")
            elif (
                block.type == "tool_result"
                and block.call in toolsets
                and block.value.get("toolset_name") != toolsets[block.call]
            ):
                yield Finding(
                    "R16",
                    f"{block.path}.tool_result.toolset_name",
                    "must be the `toolset_name` of the corresponding `tool_use` block",
                    related=(block.call,),
                )


_ANSWER = "Answer every call in the very next user message, results first."
RULES = (
    Rule(
        "R7",
        "the conversation does not end on the assistant",
        "End on a user message; quote the partial text in it to have it continued.",
        "Anthropic docs: api/errors (documented)",
        last_word_is_the_users,
    ),
    Rule(
        "R8",
        "every tool_use is answered in the next message",
        f"{_ANSWER} A call that was never run is answered with an error result.",
        "GitHub anthropics/claude-code#5060 (seen live)",
        every_call_is_answered,
    ),
    Rule(
        "R9",
        "every tool_result answers a call of the message before it",
        "Remove the result, or restore the assistant message that made the call.",
        "GitHub router-for-me/CLIProxyAPI#497 (seen live)",
        every_result_was_asked_for,
    ),
    Rule(
        "R10",
        "tool results stand before any other content",
        f"{_ANSWER} Text and images go behind the results.",
        "Anthropic docs: agents-and-tools/tool-use/handle-tool-calls (documented)",
        results_come_first,
    ),
    Rule(
        "R11",
        "call ids are well formed, unique, and answered once",
        "Keep the first result of a call; give generated calls fresh ids.",
        "error texts of the live server (seen live; scope assumed)",
        ids_are_unique,
    ),
    Rule(
        "R12",
        "a server tool's call and its result stay together",
        "Send the paused reply back as it came, with the same tools; with an open "
        "server call send tool results only.",
        "Anthropic docs: build-with-claude/handling-stop-reasons (documented)",
        server_calls_are_closed,
    ),
    Rule(
        "R13",
        "no message stands between a call and its result",
        f"{_ANSWER} Move what stands between behind the results.",
        "Anthropic docs: agents-and-tools/tool-use/handle-tool-calls (documented)",
        nothing_stands_between,
    ),
    Rule(
        "R14",
        "each kind of block stands in a message of its role",
        "Move the block to a message of the role that the error names.",
        "Anthropic docs: api/migration-2026-10-21 (documented; wording assumed)",
        blocks_are_in_place,
    ),
    Rule(
        "R15",
        "a call's input is an object and a failed result is text",
        "Replace a null or list input by {}; put what a failed tool said into text.",
        "anthropic SDK: types/tool_result_block_param.py (certain)",
        inputs_and_results_hold_what_they_may,
    ),
    Rule(
        "R16",
        "a result repeats the toolset of its call",
        "Copy toolset_name from the tool_use to its tool_result.",
        "Anthropic docs: agents-and-tools/tool-use (documented; wording ours)",
        toolset_is_echoed,
    ),
    Rule(
        "R17",
        "parallel results may come in several user messages",
        "Nothing to do: adjacent user messages are merged. One message is better, "
        "because the model learns from it to call in parallel.",
        "Anthropic docs: agents-and-tools/tool-use/parallel-tool-use (documented)",
        silent,
    ),
)
"""The rules of this module."""
