"""The requested settings of a conversation: journaled, and restored when it is resumed."""

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, cast, final

import attrs

from turnlatch_states.api.json_bytes import encode


class Purpose(StrEnum):
    """The purpose of a turn and of its requests."""

    MESSAGE = "message"
    COMPACTION = "compaction"


class Threads(StrEnum):
    """Whether the server is asked to keep a copy of the conversation.

    A request continues a copy only where the count of input tokens in the reply can show
    that there is one, and the reply is committed only if it does. Otherwise it is counted
    in `lost`, the whole conversation is sent instead, and no copy is asked for until
    `configure` is given a client or `threads`. So a server that counts nothing, or
    invents its counts, gets the whole conversation every time; one whose inventions grow
    with every message is believed.

    Tokens that the server clears (context editing, compaction) count as read if the reply
    reports them. Any other clearing looks like a lost copy: it costs one reply and the
    saving, but loses no message.
    """

    OFF = "off"
    """Every request carries the whole conversation."""
    ON = "on"
    """Always, where the server can; a loss is made good without a word."""
    AUTO = "auto"
    """As long as it pays: given up for good where the server cannot, or keeps losing."""


class Cache(StrEnum):
    """How long the prompt cache is asked to keep what was read."""

    OFF = "off"
    SHORT = "5m"
    LONG = "1h"


_MARKS: Final[Mapping[Cache, Mapping[str, str]]] = {
    Cache.SHORT: {"type": "ephemeral"},
    Cache.LONG: {"type": "ephemeral", "ttl": "1h"},
}

# At most so many markers in a request, and in one on a server thread (Anthropic docs:
# build-with-claude/prompt-caching, build-with-claude/message-threads).
_MARKS_MAX: Final = 4
_MARKS_THREAD_MAX: Final = 3
_SHARED: Final = ("tools", "system")

# On-demand compaction does not combine with these (Anthropic docs:
# build-with-claude/compaction-on-demand).
_NOT_WITH_COMPACTION: Final = frozenset(
    {"context_management", "stop_sequences", "tool_choice", "output_config"}
)
# A continued thread has its own copy of these (Anthropic docs:
# build-with-claude/message-threads).
_HELD_BY_THREAD: Final = frozenset({"system", "tools"})


@final
@attrs.frozen
class Profile:
    """The requested settings of a conversation.

    Attributes:
        model: Model id.
        max_tokens: Most tokens one reply may have.
        settings: Further body fields as (name, JSON), in the order they are sent.
        betas: Names for the `anthropic-beta` header.
        diagnostics: Send `diagnostics.previous_message_id`, from confirmed replies.
        threads: Whether the server is asked to keep a copy.
        cache: Whether, and how long, the prompt cache is asked to keep what was read.
    """

    model: str
    max_tokens: int
    settings: tuple[tuple[str, bytes], ...] = ()
    betas: tuple[str, ...] = ()
    diagnostics: bool = True
    threads: Threads = Threads.OFF
    cache: Cache = Cache.OFF

    @cached_property
    def plain_opening(self) -> bytes:
        """The request up to its messages; byte-stable while the profile is."""
        return self.opening()

    def opening(
        self,
        *,
        purpose: Purpose = Purpose.MESSAGE,
        continued: bool = False,
        max_tokens: int | None = None,
        dropped: frozenset[str] = frozenset(),
        thinking: bytes | None = None,
        instructions: str | None = None,
    ) -> bytes:
        """The request up to its messages.

        Args:
            purpose: An ordinary request, or one for a summary.
            continued: The server holds the system prompt and the tools.
            max_tokens: Another limit than the profile's.
            dropped: Fields that are left out.
            thinking: Another `thinking` field, as JSON.
            instructions: The instructions for the summary, for a compaction.
        """
        left_out = dropped
        if continued:
            left_out = left_out | _HELD_BY_THREAD
        if purpose is Purpose.COMPACTION:
            left_out = left_out | _NOT_WITH_COMPACTION
        fields = {n: v for n, v in self._marked(dropped).items() if n not in left_out}
        if thinking is not None:
            fields["thinking"] = thinking
        if purpose is Purpose.COMPACTION:
            asked = {"type": "summarize"}
            if instructions:
                asked["instructions"] = instructions
            fields["compaction"] = encode(asked)
        parts = [
            b'{"model":' + encode(self.model),
            b'"max_tokens":%d' % (max_tokens or self.max_tokens),
            *(encode(name) + b":" + value for name, value in fields.items()),
        ]
        return b",".join(parts) + b',"messages":['

    def _marked(self, dropped: frozenset[str]) -> dict[str, bytes]:
        """The settings with their cache markers, which no history contains.

        One marker follows the end of the conversation (the API's top-level field, so that
        no message changes for it); one follows the part that all conversations of this
        profile share. Caller-supplied markers are kept; then only our first marker is
        added, if the limit allows one more.
        """
        fields = dict(self.settings)
        if self.cache is Cache.OFF or "cache_control" in dropped:
            return fields
        mark = dict(_MARKS[self.cache])
        own = sum(map(_marks_in, map(fields.get, _SHARED)))
        if own:
            mark = dict(_MARKS[Cache.SHORT])  # a longer one may not come after theirs
        elif "cache_control" in fields:
            return fields
        else:
            shared = next((n for n in ("system", "tools") if n in fields), None)
            if shared is not None:
                fields[shared] = _with_mark(json.loads(fields[shared]), mark)
        if own < self._marks_max:
            fields.setdefault("cache_control", encode(mark))
        return fields

    @property
    def _marks_max(self) -> int:
        return _MARKS_MAX if self.threads is Threads.OFF else _MARKS_THREAD_MAX

    def mark_at_end(self, dropped: frozenset[str] = frozenset()) -> bytes | None:
        """The marker at the end of each request, as JSON; None if it has no marker there.

        Args:
            dropped: Fields that are left out.
        """
        if self.cache is Cache.OFF or "cache_control" in dropped:
            return None
        mark = self._marked(dropped).get("cache_control")
        return None if mark == b"null" else mark

    def mark_to_spare(self, dropped: frozenset[str] = frozenset()) -> bytes | None:
        """A marker for one more place in the messages, as JSON.

        It lasts as long as the marker at the end, which follows it. None without a marker
        at the end, or if the request already has the maximum number.

        Args:
            dropped: Fields that are left out.
        """
        fields = self._marked(dropped)
        used = 1 + sum(map(_marks_in, map(fields.get, _SHARED)))
        return self.mark_at_end(dropped) if used < self._marks_max else None

    def following(self, old: "Profile", new: "Profile") -> "Profile":
        """This profile, with every setting that differs between two others as in the
        second: the settings of one turn, after those of its conversation changed."""
        attributes = ("model", "max_tokens", "betas", "diagnostics", "threads", "cache")
        changed = {
            name: getattr(new, name)
            for name in attributes
            if getattr(new, name) != getattr(old, name)
        }
        before, after = dict(old.settings), dict(new.settings)
        settings = dict(self.settings)
        for name in before.keys() | after.keys():
            if before.get(name) == after.get(name):
                continue
            settings.pop(name, None)
            if name in after:
                settings[name] = after[name]
        order = [*after, *sorted(settings.keys() - after.keys())]
        kept = tuple((name, settings[name]) for name in order if name in settings)
        return attrs.evolve(self, settings=kept, **changed)

    def setting(self, name: str) -> Any:
        """One setting, parsed; None where it is not set."""
        for key, value in self.settings:
            if key == name:
                return json.loads(value)
        return None

    def as_body(self) -> Mapping[str, Any]:
        """The settings as a request body without messages, to look at and to check."""
        return {
            "model": self.model,
            "max_tokens": self.max_tokens,
            **{name: json.loads(value) for name, value in self.settings},
        }


def _marks_in(encoded: bytes | None) -> int:
    """How many markers a system prompt or a list of tools has."""
    if encoded is None or b'"cache_control"' not in encoded:
        return 0
    blocks: Any = json.loads(encoded)
    if not isinstance(blocks, list):
        return 0
    marks = [one.get("cache_control") for one in cast("list[dict[str, Any]]", blocks)]
    return len(marks) - marks.count(None)


def _with_mark(value: object, mark: Mapping[str, str]) -> bytes:
    """A system prompt or a list of tools, with a marker behind its end."""
    if isinstance(value, str):
        value = [{"type": "text", "text": value}]
    blocks = [{**one} for one in cast("list[dict[str, Any]]", value)]
    if not blocks:
        return b"[]"
    blocks[-1]["cache_control"] = mark
    return encode(blocks)
