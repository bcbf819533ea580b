"""Judging the history that a client sends: doubled, partial, poisoned, rewritten."""

import itertools
from collections.abc import Iterator

from turnlatch.simulator.wire import Json, as_object
from turnlatch.testing.defects import Defect, DefectKind
from turnlatch.testing.judge_retries import Dialogue, cut
from turnlatch.testing.observed import (
    ObservedMessage,
    ObservedRequest,
    calls_of,
    prefix,
    reply_parts,
)


def partial_replies(dialogue: Dialogue) -> Iterator[Defect]:
    """Parts of cut replies that a later request has in its history."""
    for place, one in enumerate(dialogue):
        part = one.reply_text
        if not cut(one) or not part.strip():
            continue
        retried = False
        for then in dialogue[place + 1 :]:
            answered = _answer_after(one, then)
            if answered is None:
                retried = retried or then.messages == one.messages
                continue
            found = _partial(one, then, answered.text, dialogue, retried=retried)
            if found is not None:
                yield found
                break


def _partial(
    one: ObservedRequest,
    then: ObservedRequest,
    text: str,
    dialogue: Dialogue,
    *,
    retried: bool,
) -> Defect | None:
    """The defect, if what follows the cut request is the part of its reply."""
    part, numbers = one.reply_text, (one.number, then.number)
    others = {other.reply_text for other in dialogue if not other.failed}
    if text in others and text != part:
        return None
    if text.startswith(part) and text[len(part) :] in others - {""}:
        said = f"request {then.number} has the reply to request {one.number} twice"
        return Defect(DefectKind.TEXT_DOUBLED, numbers, f"{said}: its cut part and all")
    if text.strip() != part.strip():
        return None
    kind = DefectKind.TRUNCATED_REPLY_ACCEPTED
    if retried:
        kind = DefectKind.PARTIAL_COMMITTED
    said = f"request {then.number} has the cut reply to request {one.number} as history"
    return Defect(kind, numbers, said)


def doubled_inputs(dialogue: Dialogue) -> Iterator[Defect]:
    """Inputs that a later request has twice in a row, after the first one failed."""
    for place, one in enumerate(dialogue):
        if not one.failed or not one.messages:
            continue
        last = len(one.messages) - 1
        said = [one.messages[last].text]
        if one.messages[last].role != "user" or not said[0].strip():
            continue
        for then in dialogue[place + 1 :]:
            if _repeats(then.messages[last:], said[0], one.messages[last]):
                text = (
                    f"request {then.number} says twice what request {one.number} said,"
                    " which had failed"
                )
                numbers = (one.number, then.number)
                yield Defect(DefectKind.TEXT_DOUBLED, numbers, text)
                return


def _repeats(
    after: tuple[ObservedMessage, ...], said: str, message: ObservedMessage
) -> bool:
    """True if the message stands there twice before anything answers it."""
    texts: list[str] = []
    for one in after:
        if one.role != "user":
            break
        texts += [str(block.get("text")) for block in one.content if "text" in block]
    once = [str(block.get("text")) for block in message.content if "text" in block]
    return texts[: 2 * len(once)] == [*once, *once] or texts[:1] == [said + said]


def poison_resent(dialogue: Dialogue) -> Iterator[Defect]:
    """Histories that were refused, sent with a further message, and refused again."""
    for place, one in enumerate(dialogue):
        if one.error is None or one.may_pass or one.illegal is not None:
            continue
        for then in dialogue[place + 1 :]:
            longer = len(then.messages) > len(one.messages) or (
                len(then.messages) == len(one.messages)
                and len(then.messages[-1].content) > len(one.messages[-1].content)
            )
            if not longer or not _holds(then, one):
                continue
            if then.error is not None and then.error.message == one.error.message:
                text = (
                    f"request {then.number} holds all of request {one.number} and more,"
                    f" and is refused for the same: {one.error.message}"
                )
                numbers = (one.number, then.number)
                yield Defect(DefectKind.POISON_RESENT, numbers, text)
                return


def _holds(then: ObservedRequest, one: ObservedRequest) -> bool:
    """True if a request begins with all messages of another."""
    *before, last = one.messages
    if list(then.messages[: len(before)]) != before:
        return False
    message = then.messages[len(before)]
    return message.role == last.role and all(
        block in message.content for block in last.content
    )


def unconfirmed_ids(dialogue: Dialogue) -> Iterator[Defect]:
    """Ids of replies and calls that never arrived whole, used in later requests."""
    lost: dict[str, int] = {}
    whole: set[str] = set()
    for one in dialogue:
        for name, where in _ids_used(one):
            if name in lost and name not in whole:
                text = (
                    f"request {one.number} names {name} in {where}; that comes from the"
                    f" reply to request {lost[name]}, which did not arrive whole"
                )
                numbers = (lost[name], one.number)
                yield Defect(DefectKind.UNCONFIRMED_ID_USED, numbers, text)
                return
        made = {str(call.get("id")) for call in calls_of(one.reply)}
        made |= {one.message_id} if one.message_id else set()
        if one.failed:
            lost.update(dict.fromkeys(made, one.number))
        else:
            whole |= made


def _ids_used(one: ObservedRequest) -> Iterator[tuple[str, str]]:
    """The ids of earlier replies that a request names, and where."""
    for field in ("diagnostics", "thread"):
        named: Json = as_object(one.body.get(field)) or {}
        previous = named.get("previous_message_id")
        if isinstance(previous, str):
            yield previous, f"{field}.previous_message_id"
    for message in one.messages:
        for block in message.content:
            if block.get("type") == "tool_result":
                yield str(block.get("tool_use_id")), "a tool_result"


def broken_prefixes(dialogue: Dialogue) -> Iterator[Defect]:
    """Requests that change what an earlier one had marked for the cache.

    A compaction starts again, with less. To take a turn back changes nothing that is sent again. A request after a refused one
    may leave something out to find what is refused, and the next may show it again: then
    the cache of before the search still serves.
    """
    deepest: tuple[bytes, ...] = ()
    for one, then in itertools.pairwise(dialogue):
        if one.error is not None or _compacted(one, then):
            continue
        marked = prefix(one.body, marked=True)
        deepest = max(deepest, marked, key=len)
        sent = prefix(then.body, marked=False)
        place = _first_difference(marked, sent)
        if place is None or _first_difference(deepest, sent) is None:
            continue
        behind = {*marked[place + 1 :], *reply_parts(one.reply)}
        if behind & set(sent[place:]):
            text = (
                f"request {then.number} differs from request {one.number} in part"
                f" {place + 1} of {len(marked)} that were marked for the cache"
            )
            numbers = (one.number, then.number)
            yield Defect(DefectKind.CACHE_PREFIX_BROKEN, numbers, text)
            return


def _compacted(one: ObservedRequest, then: ObservedRequest) -> bool:
    """True if a request begins with a summary of what another one began with."""
    if one.messages[:1] == then.messages[:1]:
        return False
    first = then.messages[0].content if then.messages else ()
    summary = any(block.get("type") == "compaction" for block in first)
    return summary or len(then.messages) < len(one.messages)


def _first_difference(marked: tuple[bytes, ...], sent: tuple[bytes, ...]) -> int | None:
    """The place of the first marked part that is sent differently; None without one."""
    pairs = enumerate(zip(marked, sent, strict=False))
    return next((place for place, (was, now) in pairs if was != now), None)


def _answer_after(
    one: ObservedRequest, then: ObservedRequest
) -> ObservedMessage | None:
    """The message that a request has as the answer to another; None if it does not go on
    from there."""
    size = len(one.messages)
    if then.messages[:size] != one.messages or len(then.messages) <= size:
        return None
    answered = then.messages[size]
    return answered if answered.role == "assistant" else None
