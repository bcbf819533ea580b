"""Summaries by an ordinary request: for what the server cannot summarise itself.

The conversation travels as a written record inside one user message: no call in it needs
a result, no thinking needs its place, no block needs a signature. A record that is too
long for one request is summarised in pieces, each together with the summary before it.
"""

import json
from typing import Any, Final, cast

from turnlatch_states.api.json_bytes import encode, text_block
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.history import Exchange, History, Method, user_message
from turnlatch_states.request.profile import Profile
from turnlatch_states.request.truncate import cut_text, told_result

PROMPT: Final = (
    "Above is the record of a conversation between a user and you, up to some point."
    " Write a summary from which you can go on without the record: what the user wants,"
    " in the user's own words where they matter; what was decided, found and done, with"
    " names, paths, numbers and errors as they are; what is open. Answer with the summary"
    " only."
)
"""The prompt if the caller gave no instructions."""

REPLY_TOKENS: Final = 4096
"""The longest told summary."""

RESULT_BYTES: Final = 2048
"""Bytes kept of one tool result in a record."""

_GOOD: Final = frozenset({"end_turn", "stop_sequence"})


def told_body(
    profile: Profile,
    history: History,
    so_far: str,
    start: int,
    until: int,
    *,
    bytes_max: int,
    instructions: str | None = None,
) -> bytes:
    """The body of a request for a summary of the exchanges from `start` to `until`.

    Args:
        profile: The settings; only the model and the limit of a reply are taken.
        history: The confirmed exchanges.
        so_far: The summary of the exchanges before `start`; empty without one.
        start: The first exchange.
        until: The exchange after the last.
        bytes_max: Most bytes of record; a longer one is shortened in the middle.
        instructions: The instructions for the summary; None for `PROMPT`.
    """
    told = "\n\n".join(record_of(history[index]) for index in range(start, until))
    told = cut_text(told, max(bytes_max - len(so_far.encode()), bytes_max // 2))
    said = f"[Summary of what came before]\n{so_far}\n\n" if so_far else ""
    text = f"{said}[Record]\n{told}\n\n{instructions or PROMPT}"
    limit = min(profile.max_tokens, REPLY_TOKENS)
    return (
        b'{"model":%s,"max_tokens":%d,"messages":[' % (encode(profile.model), limit)
        + user_message(text_block(text))
        + b'],"stream":true}'
    )


def record_of(exchange: Exchange) -> str:
    """An exchange as text: who said what, which calls were made, what they gave."""
    lines = ["User:", *map(_line, _blocks(exchange.user))]
    lines += ["You:", *map(_line, _blocks(exchange.resendable))]
    return "\n".join(line for line in lines if line)


def _blocks(encoded: bytes) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", json.loads(b"[" + encoded + b"]"))


def _line(block: dict[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str() as text}:
            return text
        case {"type": "tool_use", "name": name, "input": given}:
            told = cut_text(json.dumps(given, ensure_ascii=False), RESULT_BYTES)
            return f"(called {name} with {told})"
        case {"type": "tool_result"}:
            return f"(it answered: {cut_text(told_result(block), RESULT_BYTES)})"
        case {"type": "thinking" | "redacted_thinking"}:
            return ""
        case _:
            return f"({block.get('type')})"


def unusable_told(reply: Reply) -> str | None:
    """Why the reply to a prompted summary is unusable; None if it is usable."""
    if reply.stop_reason not in _GOOD:
        return (
            f"the server stopped with {reply.stop_reason!r} and gave no whole summary"
        )
    if reply.tool_uses:
        return "the reply is a tool call and no summary"
    if not reply.text.strip():
        return "the summary is empty"
    return None


def too_large(summary: int, covered: int, gain_min: float) -> str | None:
    """Why a summary saves too little; None if it saves enough.

    Args:
        summary: Bytes of what will stand for the exchanges.
        covered: Bytes of what stood for them.
        gain_min: Share by which it must be smaller.
    """
    if covered < 1024 or summary <= covered * (1 - gain_min):
        return None  # for a tiny history the summary costs nothing
    return (
        f"the summary has {summary} bytes and replaces {covered}: it saves too little"
    )


def summary_text(block: bytes, method: Method) -> str:
    """The text of a summary in force."""
    found = json.loads(block)
    return str(found.get("text" if method is Method.TOLD else "content") or "")
