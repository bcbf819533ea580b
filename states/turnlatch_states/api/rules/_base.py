"""The vocabulary of the rules: finding, context, limits, rule."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeGuard, final

import attrs

from turnlatch_states.api.models import ModelSpec

VERSION_2026 = "2026-10-21"
"""The `anthropic-version` that removes the sampling parameters and checks documents and
citations more strictly. Versions compare as text."""


@final
@attrs.frozen
class Finding:
    """One way in which a request would be refused.

    Attributes:
        rule: The id of the rule that found it.
        path: Where, as the server writes it; empty for the whole body.
        reason: The violation, in the server's words if they are known.
        status: The HTTP status of the refusal.
        type: `error.type` of the refusal.
        code: `error.details.error_code` of the refusal, where there is one.
        related: Tool call ids, or the exact places behind a path that is too wide.
        accepted_too: The service has been recorded to accept such a request as well,
            so it may pass; a server of somebody else's may refuse it.
    """

    rule: str
    path: str
    reason: str
    status: int = 400
    type: str = "invalid_request_error"
    code: str | None = None
    related: tuple[str, ...] = ()
    accepted_too: bool = False

    @property
    def message(self) -> str:
        """`error.message` of the refusal."""
        return f"{self.path}: {self.reason}" if self.path else self.reason


@final
@attrs.frozen(kw_only=True)
class ApiLimits:
    """The numbers of the API, replaceable so that a simulator can tighten one.

    `None` in the last group means the model's own number.
    """

    request_bytes_max: int = 32 * 1024 * 1024
    messages_max: int = 100_000
    cache_markers_max: int = 4
    cache_markers_thread_max: int = 3
    image_base64_bytes_max: int = 10 * 1024 * 1024
    image_pixels_max: int = 8000
    many_images: int = 20
    many_images_pixels_max: int = 2000
    strict_tools_max: int = 20
    optional_parameters_max: int = 24
    union_parameters_max: int = 16
    compaction_instructions_chars_max: int = 16_384
    compaction_trigger_tokens_min: int = 50_000
    images_max: int | None = None
    pdf_pages_max: int | None = None
    context_window: int | None = None
    output_max: int | None = None


class Verifier(Protocol):
    """Checks of signed blocks that only the server can make."""

    def thinking(
        self, block: Mapping[str, object], *, path: str, body: Mapping[str, object]
    ) -> str | None:
        """None if this thinking block is as it was issued, else the reason."""
        ...

    def compaction(self, block: Mapping[str, object]) -> tuple[str, str] | None:
        """None if this block is as it was issued, else (error code, reason)."""
        ...


@final
@attrs.frozen
class Context:
    """Facts about a request that its body does not contain.

    Attributes:
        betas: The values of the `anthropic-beta` header.
        body_bytes: Its size on the wire; None: the size rule is silent.
        version: The value of the `anthropic-version` header.
        model: The model's row; None: looked up from the body, and a model without a
            row is held only to the rules that hold for all models.
        verify: The server's knowledge of its signatures; None: they are not judged.
        count_tokens: The length of a body's prompt; None: it is not judged.
        limits: The numbers in force.
        held: The messages the server already holds for a continued thread; None: they
            are unknown, and what depends on them is not judged.
    """

    betas: frozenset[str] = frozenset()
    body_bytes: int | None = None
    version: str = VERSION_2026
    model: ModelSpec | None = None
    verify: Verifier | None = None
    count_tokens: Callable[[Mapping[str, object]], int] | None = None
    limits: ApiLimits = ApiLimits()
    held: Sequence[Mapping[str, object]] | None = None


def is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    """True for a JSON object."""
    return type(value) is dict or isinstance(value, Mapping)


def is_array(value: object) -> TypeGuard[Sequence[object]]:
    """True for a JSON array."""
    return type(value) is list or type(value) is tuple


def is_integer(value: object) -> TypeGuard[int]:
    """True for a JSON integer; `True` is not one."""
    return isinstance(value, int) and not isinstance(value, bool)


def member(value: object, *names: str) -> object:
    """The value below `names`, or None where the way ends."""
    for name in names:
        if not is_object(value):
            return None
        value = value.get(name)
    return value


def objects(value: object) -> Iterator[tuple[int, Mapping[str, object]]]:
    """The objects of an array with their places; nothing for anything else."""
    if is_array(value):
        for place, item in enumerate(value):
            if is_object(item):
                yield place, item


def digits(number: int) -> str:
    """`number` in decimal, also where Python refuses to print it."""
    # str() of an integer of more than some 4,300 digits raises ValueError.
    return str(number) if number.bit_length() < 1024 else hex(number)
