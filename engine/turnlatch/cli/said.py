"""Reading an error as somebody printed it: its status, type, code and message.

turnlatch's own line, the SDK's, a bare body, or what a log made of them: the same four facts.
"""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast, final

import attrs

from turnlatch.sdk.failures import MESSAGE_MAX
from turnlatch.sdk.sealing import one_line
from turnlatch_states.api.error_codes import BY_CODE, family
from turnlatch_states.api.faults import BY_TYPE, FaultKind, classify

STATUS_ASSUMED: Final = 400
"""The status that is assumed for a bare message: the only one whose wording counts."""


@final
@attrs.frozen
class Said:
    """An error as far as a text tells it.

    Attributes:
        status: Its status, if it is told.
        type: Its type, likewise.
        code: Its code, likewise.
        message: Its message; may be empty.
        stated: The kind that turnlatch itself stated, where nothing else was known.
    """

    status: int | None = None
    type: str | None = None
    code: str | None = None
    message: str = ""
    stated: FaultKind | None = None

    @property
    def kind(self) -> FaultKind | None:
        """The kind it is taken for; None if that hangs on what it does not tell."""
        if self.stated is not None:
            return self.stated
        if self.status is None and self.type is None and self.code is not None:
            alike = family(self.code)
            return BY_CODE.get(self.code) if alike is None else alike.kind
        return self.without()

    def without(
        self, *, type_: bool = False, code: bool = False, message: bool = False
    ) -> FaultKind:
        """The kind if less of it were known."""
        status = self.status
        if status is None:  # a type alone comes inside of a stream
            status = 200 if self.type is not None else STATUS_ASSUMED
        return classify(
            status,
            None if type_ else self.type,
            None if code else self.code,
            "" if message else self.message,
        )


_OURS: Final = re.compile(
    r"^\W*(?:turnlatch: )?(?:turn \d+|compaction) (?:failed|suspended): "
)
_STATED: Final = re.compile(
    "^(transient|compaction|local|budget|cancelled|interrupted): (?=.)"
)
"""How `str(fault)` begins where no server said anything."""

_HEAD: Final = re.compile(
    r"^(?:[\w.]*Error: *)?(?:(?:HTTP|API Error:?|Error code:?|status(?: code)?:?) *)*"
    r"(?:HTTP/\d\S* )?([1-5]\d\d)(?![\w.])[\s:,-]*",
    re.IGNORECASE,
)
_REQUEST: Final = re.compile(r"(?:request id: )?req_\w+")
_WORDS_MIN: Final = 3
"""A text with fewer words counts as a misspelt word, not as a message."""


def read(text: str) -> Said | None:
    """The error that a text tells of; None for a word or two that tell of none."""
    text = _OURS.sub("", text)
    stated = _STATED.match(text)
    if stated is not None:
        message = one_line(text[stated.end() :], MESSAGE_MAX)
        return Said(message=message, stated=FaultKind(stated[1]))
    start, _, _ = text.partition("{")
    enveloped = _envelope(text[len(start) :])
    head = _HEAD.match(start)
    status = None if head is None else int(head[1])
    if enveloped is not None:
        return attrs.evolve(enveloped, status=status)
    rest = text if head is None else text[head.end() :]
    type_ = code = None
    while True:
        first, _, after = rest.partition(" ")
        first = first.rstrip(":,")
        if type_ is None and first in BY_TYPE:
            type_, rest = first, after
        elif code is None and is_code(first):
            code, rest = first, after
        else:
            break
    rest = one_line(_without_request(rest), MESSAGE_MAX)
    said = Said(status, type_, code, rest)
    if status is None and type_ is None and code is None:
        hinted = said.kind is not FaultKind.INVALID
        return said if hinted or len(rest.split()) >= _WORDS_MIN else None
    return said


def _without_request(text: str) -> str:
    """A message without the id of its request, which ends it in brackets."""
    head, bracket, last = text.rpartition("(")
    if bracket and last.endswith(")") and _REQUEST.fullmatch(last[:-1]):
        return head.rstrip()
    return text


_CODE: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+", re.ASCII)


def is_code(word: str) -> bool:
    """True for an error code that is known, or that looks like one and has a family."""
    if word in BY_CODE:
        return True
    return family(word) is not None and _CODE.fullmatch(word) is not None


def _envelope(text: str) -> Said | None:
    """The error in a body, as JSON or as Python prints it."""
    text = text[: text.rfind("}") + 1]
    try:
        body: object = json.loads(text)
    except (ValueError, RecursionError):
        try:
            body = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    error = _member(body, "error") or body
    type_, message = _member(error, "type"), _member(error, "message")
    code = _member(_member(error, "details"), "error_code")
    if not isinstance(type_, str) and not isinstance(message, str):
        return None
    return Said(
        None,
        type_ if isinstance(type_, str) else None,
        code if isinstance(code, str) else None,
        one_line(message, MESSAGE_MAX) if isinstance(message, str) else "",
    )


def _member(value: object, name: str) -> object:
    if isinstance(value, Mapping):
        return cast("Mapping[Any, object]", value).get(name)
    return None
