"""Server threads and cache diagnosis: R33."""

from collections.abc import Iterator

from turnlatch_states.api.rules._base import Context, Finding, member
from turnlatch_states.api.rules._request import Body
from turnlatch_states.api.rules._rule import Rule


def thread_and_diagnostics(request: Body, context: Context) -> Iterator[Finding]:
    """A continued thread repeats neither system nor tools; ids are message ids.

    Sources: Anthropic docs build-with-claude/message-threads; GitHub
    anthropics/claude-code#58427. Confidence: documented; the text for repeated fields is
    ours. Whether the server still holds the thread is its own knowledge.
    """
    yield from request.shape_of("R33")
    body = request.body
    if request.continues:
        for field in ("system", "tools"):
            if field in body:
                reason = f"`{field}` must be absent when a thread is continued"
                yield Finding("R33", "thread", reason, related=(field,))
        previous = member(body, "thread", "previous_message_id")
        if isinstance(previous, str) and not previous.startswith("msg_"):
            yield Finding(
                "R33",
                "thread.continue.previous_message_id",
                "must be the `id` from a prior /v1/messages response (starts with `msg_`)",
            )
    diagnosed = member(body, "diagnostics", "previous_message_id")
    if diagnosed is not None and not (
        isinstance(diagnosed, str) and diagnosed.startswith("msg_")
    ):
        yield Finding(
            "R33",
            "diagnostics.previous_message_id",
            "must be the `id` from a prior /v1/messages response (starts with `msg_`)",
        )


RULES = (
    Rule(
        "R33",
        "thread and diagnostics name a message id; a continued thread is bare",
        "Send the id of a reply the server gave, or null; leave system and tools to the "
        "thread that was created.",
        "GitHub anthropics/claude-code#58427 (seen live)",
        thread_and_diagnostics,
    ),
)
"""The rules of this module."""
