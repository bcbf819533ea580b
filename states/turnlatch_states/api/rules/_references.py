"""The fields of a body that name what is held elsewhere: containers, MCP servers, threads.

Derived from the request types of the `anthropic` SDK, like the rest of the body.
"""

from turnlatch_states.api.rules._parts import MAYBE_TEXT, TAG, TEXT
from turnlatch_states.api.rules._schema import (
    Variant,
    boolean,
    list_of,
    may,
    need,
    null_or,
    one_of,
    record,
    string,
    string_or,
    tagged,
)

_TEXTS = may(null_or(list_of(string())))

_SKILL = record(
    {
        "type": need(one_of("R1", "anthropic", "custom")),
        "skill_id": TEXT,
        "version": may(string()),
    }
)
CONTAINER = string_or(
    record({"id": MAYBE_TEXT, "skills": may(null_or(list_of(_SKILL)))})
)
MCP_SERVER = record(
    {
        "type": need(one_of("R1", "url")),
        "name": TEXT,
        "url": TEXT,
        "authorization_token": MAYBE_TEXT,
        "tool_configuration": may(
            null_or(
                record({"allowed_tools": _TEXTS, "enabled": may(null_or(boolean()))})
            )
        ),
    }
)
THREAD = tagged(
    {
        "create": Variant(record({"type": TAG}, "R33")),
        "continue": Variant(
            record({"type": TAG, "previous_message_id": need(string("R33"))}, "R33")
        ),
    },
    "R33",
)
