"""Server threads: what the server keeps between two requests, and how it loses it.

See https://platform.claude.com/docs/en/build-with-claude/message-threads. A conversation
is kept under the id of its last reply. It may be continued once, only by a request that
does not repeat what is kept, and it is forgotten five minutes after its last use.
"""

from collections.abc import Mapping, Sequence
from typing import Final, final

import attrs

from turnlatch.simulator.signing import digest_of
from turnlatch.simulator.wire import Json, Refusal, as_object, objects

THREADS_BETA: Final = "message-threads-2026-08-12"

EXPIRY_SECONDS: Final = 300.0

FIXED_FIELDS: Final = ("output_config",)
"""Fields whose value a thread keeps for all its turns."""


@final
@attrs.frozen
class StoredThread:
    """A conversation as the server keeps it.

    Attributes:
        system: The system prompt it was created with.
        tools: The tools it was created with.
        messages: All messages, with the last reply.
        fixed: Digests of the fixed fields.
        stop_reason: Of the last reply.
    """

    system: object
    tools: object
    messages: tuple[Json, ...] = attrs.field(repr=False)
    fixed: Mapping[str, bytes]
    stop_reason: str | None

    def whole(self, body: Json) -> Json:
        """A continuing request as the whole conversation it stands for."""
        whole = dict(body)
        whole["messages"] = [*self.messages, *objects(body.get("messages"))]
        stored = {"system": self.system, "tools": self.tools}
        whole.update(
            {name: value for name, value in stored.items() if value is not None}
        )
        return whole


@final
@attrs.define
class _Entry:
    held: StoredThread
    used_at: float
    ready: bool = False
    continued_by: int | None = None
    finished: bool = False


@final
class ThreadStore:
    """All threads of a simulator."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._forgotten_by_order: set[str] = set()

    def forget_all(self) -> None:
        """Lose every thread at once."""
        self._forgotten_by_order.update(self._entries)
        self._entries.clear()

    def was_forgotten_by_order(self, message_id: str) -> bool:
        """Whether the loss of this one was asked for by a script."""
        return message_id in self._forgotten_by_order

    def find(self, message_id: str, at: float) -> StoredThread | None:
        """The thread under an id; None if it is unknown or expired."""
        entry = self._entries.get(message_id)
        if entry is None or not entry.ready:
            return None
        if at - entry.used_at >= EXPIRY_SECONDS:
            del self._entries[message_id]
            return None
        return entry.held

    def refusal(self, message_id: str, body: Json, at: float) -> Refusal | None:
        """Why a continuing request cannot go on; None if it can."""
        held = self.find(message_id, at)
        if held is None:
            message = (
                "No thread state was found for the requested `previous_message_id`."
                ' Replay the full conversation with `thread: {"type": "create"}` to'
                " start a new Thread."
            )
            return Refusal(404, "not_found_error", message, "thread_not_found")
        entry = self._entries[message_id]
        if entry.continued_by is not None and entry.finished:
            message = (
                f"thread: {message_id} has already been continued; continue from the"
                " id of the newest response, or replay the full conversation"
            )
            return _refused(message, "thread_already_continued")
        if entry.continued_by is not None:
            message = (
                f"thread: another request is still continuing from {message_id}; wait"
                " for it, or replay the full conversation"
            )
            return _refused(message, "thread_continue_in_flight")
        differing = [
            name
            for name in FIXED_FIELDS
            if name in body and digest_of(body[name]) != held.fixed.get(name)
        ]
        if differing:
            message = (
                "thread: the request does not match the stored thread; differing"
                f" field(s): {', '.join(differing)}"
            )
            return _refused(message, "thread_fingerprint_mismatch")
        return None

    def begin(self, message_id: str, number: int, at: float) -> None:
        """Exchange `number` continues this thread and is not finished."""
        entry = self._entries[message_id]
        entry.continued_by = number
        entry.used_at = at

    def keep(self, body: Json, reply: Json, at: float) -> None:
        """Keep a conversation under the id of its reply, from when that is finished."""
        message: Json = {"role": "assistant", "content": reply["content"]}
        messages = objects(body.get("messages"))
        if reply["content"]:
            messages = (*messages, message)
        reason = reply.get("stop_reason")
        held = StoredThread(
            body.get("system"),
            body.get("tools"),
            messages,
            {name: digest_of(body.get(name)) for name in FIXED_FIELDS},
            reason if isinstance(reason, str) else None,
        )
        self._entries[str(reply["id"])] = _Entry(held, at)

    def finish(self, number: int, continued: str | None, kept: str | None) -> None:
        """Exchange `number` is over: what it continued stays used, its reply counts."""
        entry = self._entries.get(continued or "")
        if entry is not None and entry.continued_by == number:
            entry.finished = True
        entry = self._entries.get(kept or "")
        if entry is not None:
            entry.ready = True


def continued_id(body: Json) -> str | None:
    """The `previous_message_id` of a request that continues a thread."""
    thread = as_object(body.get("thread")) or {}
    if thread.get("type") != "continue":
        return None
    previous = thread.get("previous_message_id")
    return previous if isinstance(previous, str) else None


def unsupported(body: Json) -> Sequence[str]:
    """The fields of a request that threads do not support."""
    named: list[str] = []
    if objects((as_object(body.get("context_management")) or {}).get("edits")):
        named.append("context_management")
    if body.get("fallbacks") is not None:
        named.append("fallbacks")
    return named


def _refused(message: str, code: str) -> Refusal:
    return Refusal(400, "invalid_request_error", message, code)
