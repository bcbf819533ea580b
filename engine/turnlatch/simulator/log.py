"""The simulator's log of requests, for tests."""

from typing import final

import attrs

from turnlatch.simulator.wire import ApiResponse, Json, Refusal
from turnlatch_states.api.betas import KNOWN_BETAS, can_be_a_beta


@final
@attrs.frozen
class LoggedRequest:
    """One request and how it was answered.

    Attributes:
        number: Of all requests, counted from 1.
        at: The simulator's clock when it arrived.
        method: In capitals.
        path: Without the query.
        headers: As they arrived, names in lower case.
        raw: The body's bytes.
        body: The body parsed; None if it is not a JSON object.
        betas: The values of `anthropic-beta`.
        status: Of the answer; 0 if the connection ended before the headers.
        error: The error answered instead of a reply; None if the request was accepted.
        scripted: The error, or what spoiled the reply, is the doing of a fault or of
            `Simulator.change`.
        objection: What the rules have against the request, where a scripted fault
            answered in their stead: a fault never hides an illegal request.
        fault: The text of the fault that replaced or spoiled the answer.
        message_id: Of the reply that was made, whether or not it arrived whole.
        request_id: Of the answer.
        response: The answer as it was to leave; whether the client took all of it is
            not known by then. See `Simulator.left_at`.
    """

    number: int
    at: float
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    raw: bytes = attrs.field(repr=False)
    body: Json | None = attrs.field(repr=False)
    betas: frozenset[str]
    status: int
    error: Refusal | None
    scripted: bool
    objection: Refusal | None
    fault: str | None
    message_id: str | None
    request_id: str
    response: ApiResponse | None = attrs.field(default=None, repr=False)

    @property
    def accepted(self) -> bool:
        """The simulator made a reply, whether or not it arrived whole."""
        return self.message_id is not None

    @property
    def line(self) -> str:
        """The exchange in one line, as `turnlatch simulate` prints it."""
        model = "" if self.body is None else f" {self.body.get('model', '')}"
        tail = f" fault: {self.fault}" if self.fault else ""
        if self.error is not None:
            tail = f" {self.error.type}: {self.error.message}{tail}"
        unknown = sorted(filter(can_be_a_beta, self.betas - KNOWN_BETAS))
        if unknown and self.accepted:
            tail += f" note: unknown beta {', '.join(unknown)}"
        status = str(self.status) if self.status else "---"
        return f"#{self.number} {self.method} {self.path}{model} {status}{tail}"


def is_unscripted_rejection(exchange: LoggedRequest) -> bool:
    """The request was illegal: nothing in the script explains why it was refused."""
    if exchange.objection is not None:
        return True
    return exchange.error is not None and not exchange.scripted
