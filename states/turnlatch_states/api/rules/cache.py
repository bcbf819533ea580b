"""Cache marks: R24."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from turnlatch_states.api.rules._base import Context, Finding, is_array, member, objects
from turnlatch_states.api.rules._request import Body
from turnlatch_states.api.rules._rule import Rule

_TTL_DEFAULT = "5m"


class _Mark(NamedTuple):
    """One cache mark: where it is and how long it lasts."""

    path: str
    ttl: object


def _mark(path: str, value: Mapping[str, object]) -> Iterator[_Mark]:
    control = value.get("cache_control")
    if control is not None:
        yield _Mark(path, member(control, "ttl") or _TTL_DEFAULT)


def _marks(request: Body) -> Iterator[_Mark]:
    """The explicit marks, in the order in which the server reads them."""
    for place, tool in request.tools:
        yield from _mark(f"tools.{place}", tool)
    for place, part in objects(request.body.get("system")):
        yield from _mark(f"system.{place}", part)
    for message in request.messages:
        if message.place < 0:
            continue
        for block in message.blocks:
            value = block.value
            nested = value.get("content")
            if is_array(nested) and block.type.endswith("tool_result"):
                for place, part in objects(nested):
                    yield from _mark(f"{block.path}.content.{place}", part)
            if "cache_control" in value:
                yield from _mark(block.path, value)


def cache_marks(request: Body, context: Context) -> Iterator[Finding]:
    """At most four marks, none on empty text, and no hour after five minutes.

    The order is tools, system, messages; the top-level mark counts as one and stands on
    the last block. On a server thread one slot is the server's. Marks on thinking are
    findings of the schema. Sources: Anthropic docs build-with-claude/prompt-caching.
    Confidence: documented, wording seen live; the text for two lifetimes on the last
    block is ours.
    """
    yield from request.shape_of("R24")
    marks = list(_marks(request))
    automatic = request.body.get("cache_control")
    if not marks and automatic is None:
        return
    yield from _too_many(request, context, marks, automatic is not None)
    yield from _on_empty_text(request)
    yield from _out_of_order(request, marks, automatic)


def _too_many(
    request: Body, context: Context, marks: list[_Mark], automatic: bool
) -> Iterator[Finding]:
    count = len(marks) + automatic
    places = tuple(mark.path for mark in marks)
    limits = context.limits
    if request.body.get("thread") is not None:
        most = limits.cache_markers_thread_max
        if count > most:
            yield Finding(
                "R24",
                "thread",
                f"a maximum of {most} blocks with cache_control may be provided when "
                "thread is set -- the fourth marker slot is reserved for the marker the "
                "server places on the conversation last cache-eligible block. Found "
                f"{count}.",
                code="thread_unsupported_request",
                related=places,
            )
    elif count > limits.cache_markers_max:
        yield Finding(
            "R24",
            "",
            f"A maximum of {limits.cache_markers_max} blocks with cache_control may be "
            f"provided. Found {count}.",
            related=places,
        )


def _on_empty_text(request: Body) -> Iterator[Finding]:
    reason = "cache_control cannot be set for empty text blocks"
    for place, part in objects(request.body.get("system")):
        if part.get("cache_control") is not None and part.get("text") == "":
            yield Finding("R24", f"system.{place}.text", reason)
    for message in request.messages:
        for block in message.blocks:
            for path, part in (
                (block.path, block.value),
                *_nested(block.value, block.path),
            ):
                marked = part.get("cache_control") is not None
                if marked and part.get("type") == "text" and part.get("text") == "":
                    yield Finding("R24", f"{path}.text", reason)


def _nested(
    value: Mapping[str, object], path: str
) -> Iterator[tuple[str, Mapping[str, object]]]:
    if value.get("type") == "tool_result":
        for place, part in objects(value.get("content")):
            yield f"{path}.tool_result.content.{place}", part


def _out_of_order(
    request: Body, marks: list[_Mark], automatic: object
) -> Iterator[Finding]:
    in_order = list(marks)
    if automatic is not None:
        ttl = member(automatic, "ttl") or _TTL_DEFAULT
        blocks = request.messages[-1].blocks if request.messages else ()
        last = blocks[-1] if blocks else None
        own = last.value.get("cache_control") if last else None
        if own is None:
            in_order.append(_Mark("", ttl))
        elif last is not None and (member(own, "ttl") or _TTL_DEFAULT) != ttl:
            yield Finding(
                "R24",
                "cache_control.ttl",
                "the automatic and the explicit cache_control of the last block must "
                "have the same ttl",
                related=(last.path,),
            )
    short = False
    for mark in in_order:
        if mark.ttl == _TTL_DEFAULT:
            short = True
        elif mark.ttl == "1h" and short:
            yield Finding(
                "R24",
                f"{mark.path}.cache_control.ttl" if mark.path else "cache_control.ttl",
                "a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following "
                "order: `tools`, `system`, `messages`.",
            )


RULES = (
    Rule(
        "R24",
        "cache marks are few, on content, and long before short",
        "Keep at most four marks (three on a thread), move them off empty text and "
        "thinking, and put ttl 1h before 5m in the order tools, system, messages.",
        "Anthropic docs: build-with-claude/prompt-caching (documented)",
        cache_marks,
    ),
)
"""The rules of this module."""
