"""What to do about one finding: its reason tells more than its rule does."""

import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

from turnlatch_states.api.rules._base import Finding
from turnlatch_states.api.rules._fields import BODY, SYSTEM_MESSAGE
from turnlatch_states.api.rules._schema import EXTRA, REQUIRED, Field

_Say: TypeAlias = "str | Callable[[Finding], str]"

_NUMBERED = re.compile(r"messages\.\d+\.(\w+)")


def _last(finding: Finding) -> str:
    return finding.path.rpartition(".")[2]


def _unknown_field(finding: Finding) -> str:
    """A field that is one elsewhere: under a beta, or under an older version."""
    field: Field | None = BODY.get(finding.path)
    inner = _NUMBERED.fullmatch(finding.path)
    if inner is not None:
        field = SYSTEM_MESSAGE.get(inner[1])
    removed = f"Remove `{_last(finding)}`"
    if field is not None and field.until is not None:
        return f"{removed}; it is a field before anthropic-version {field.until} only."
    if field is not None and field.betas is not None:
        return f"{removed}, or send anthropic-beta: {' or '.join(sorted(field.betas))}."
    return f"{removed}; the API has no such field there."


def _missing(finding: Finding) -> str:
    return f"Add `{_last(finding)}`."


def _wrong_type(finding: Finding) -> str:
    kind = finding.reason.removeprefix("Input should be ")
    return f"Give {kind} as `{_last(finding) or 'the body'}`."


def _left_out(finding: Finding) -> str:
    named = finding.reason.partition("`")[2].partition("`")[0]
    return f"Leave `{named}` out: this model has its default only."


_ANYWHERE: tuple[tuple[str, _Say], ...] = (
    (f"^{re.escape(EXTRA)}$", _unknown_field),
    (f"^{re.escape(REQUIRED)}$", _missing),
    (r"^Input should be (an object|a valid \w+)$", _wrong_type),
    (r"^Input should be '", "Give one of the values that the error lists."),
    (
        r"^Input should be (greater|less)",
        "Give a number within the bound that the error names.",
    ),
    (
        "^Input tag ",
        "Give one of the tags that the error lists; further ones need their beta header.",
    ),
)

_OF_A_RULE: dict[str, tuple[tuple[str, _Say], ...]] = {
    "R1": (
        ("requires anthropic-beta", "Send the beta header that the error names."),
        ("maximum size", "Shorten results, drop media or compact: 32 MB is the most."),
        ("surrogate", "Replace the half of a character before the request is built."),
        ("not JSON", "Replace numbers that are not finite: JSON has none."),
        ("recursion|nested", "Make the body flatter."),
    ),
    "R2": (
        ("which is the maximum allowed", "Lower max_tokens to the number named."),
        ("of 0 cannot be combined", "Raise max_tokens, or leave out what is named."),
    ),
    "R3": (
        ("at least one", "Send at least one message."),
        ("at most", "Compact the conversation: it has too many messages."),
    ),
    "R4": (
        (
            "role 'system'",
            "Put the text into the top-level system field, or use a model that has"
            " system messages.",
        ),
    ),
    "R11": (
        (
            "match pattern",
            "Give the call a fresh id of the characters that the pattern allows, and its"
            " result the same.",
        ),
        ("must be unique", "Give each call a unique id, and its result the same id."),
        ("single result", "Keep the first result of the call."),
    ),
    "R20": (
        ("is deprecated for this model", _left_out),
        ("Please use only one", "Leave temperature or top_p out."),
        (
            "may only be set|must be greater than or equal to 0.95|must be unset",
            "Leave the sampling parameter out while the model thinks.",
        ),
        ("budget_tokens", "Lower budget_tokens below max_tokens, or raise max_tokens."),
        (
            "effort",
            "Leave output_config.effort out, or give a level that the model has.",
        ),
        ("", "Leave `thinking` out, or give a type that the model has."),
    ),
    "R24": (
        (
            "maximum of",
            "Keep as many cache_control marks as are allowed, the last ones.",
        ),
        (
            "must not come after",
            "Put ttl 1h before 5m in the order tools, system, messages.",
        ),
        ("empty text", "Move the mark to a block that has text."),
        ("same ttl", "Give both marks of the last block one ttl."),
    ),
    "R28": (
        ("must be unique", "Rename one of the tools."),
        (
            "match pattern",
            "Rename the tool with the characters that the pattern allows.",
        ),
        ("defer_loading", "Load at least one tool: remove its defer_loading."),
        ("does not match the input_schema", "Correct the example, or leave it out."),
        ("top level", "Wrap the alternatives in a property of one object."),
        ("too many", "Make fewer tools strict, or their schemas simpler."),
        ("JSON schema is invalid", "Correct the schema that the path names."),
    ),
    "R29": (
        ("not found", "Name a tool of this request in tool_choice."),
        ("while providing tools", "Leave tool_choice out, or send tools."),
        ("", "Set tool_choice to auto and ask for the tool in words."),
    ),
    "R30": (
        ("dimensions", "Shrink the image below the size that the error names."),
        ("exceeds|maximum:", "Make the file smaller than the error allows."),
        ("pages|too many", "Drop the oldest media until as few as allowed are left."),
        ("appears to be", "Declare the media type that the file has."),
        ("process image", "Send an image that can be opened, or leave it out."),
        ("PDF", "Send a PDF that can be opened, or leave it out."),
    ),
    "R33": (
        ("must be absent", "Leave it out: the thread that was created holds it."),
        ("must be the `id`", "Send the id of a reply that the server gave, or null."),
    ),
}


def _wanted(finding: Finding) -> Iterator[_Say]:
    own = _OF_A_RULE.get(finding.rule, ())
    # A rule's advice for any reason comes after the general advice for this reason.
    ordered = [
        *(each for each in own if each[0]),
        *_ANYWHERE,
        *(each for each in own if not each[0]),
    ]
    for pattern, say in ordered:
        if re.search(pattern, finding.reason):
            yield say


def advice(finding: Finding, otherwise: str) -> str:
    """What to do about this finding.

    Args:
        finding: It.
        otherwise: What to do about its rule, which is said where nothing says more.
    """
    say = next(_wanted(finding), otherwise)
    return say if isinstance(say, str) else say(finding)
