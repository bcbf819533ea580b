"""One request on its way through the simulator, and what was found out about it."""

import random
import re
from typing import Final, final

import attrs

from turnlatch.simulator.faults import Action, Kind, Slow
from turnlatch.simulator.log import LoggedRequest
from turnlatch.simulator.schedule import Circumstances
from turnlatch.simulator.threads import continued_id
from turnlatch.simulator.wire import (
    ApiRequest,
    ApiResponse,
    Json,
    Refusal,
    as_object,
)

_ROUTE: Final = re.compile(
    r"(?:.*)/v1/(messages/count_tokens|messages|models)(?:/([^/]+))?/?"
)


def route(request: ApiRequest) -> tuple[str, str | None]:
    """The endpoint, empty if it does not exist, and the requested item."""
    found = _ROUTE.fullmatch(request.path.partition("?")[0])
    if found is None:
        return "", None
    endpoint, item = found.groups()
    return ("", item) if item is not None and endpoint != "models" else (endpoint, item)


@final
@attrs.define
class Visit:
    """A request, and how far its answer has come.

    Attributes:
        number: Of all requests, counted from 1.
        at: The clock when it arrived.
        request: The request.
        endpoint: The endpoint without `/v1/`; empty if it does not exist.
        item: The requested model, if any.
        rng: The only randomness of its answer.
        request_id: Of the answer.
        betas: The values of `anthropic-beta`.
        body: The body parsed; None if it is not a JSON object or was not read.
        fault: The fault that replaces or spoils the answer.
        slow: The fault that delays the answer.
        objection: The rules' objection, if a fault answers instead of the rules.
        error: The error that is answered instead of a reply.
        scripted: True if the script asked for the error or the spoiled reply.
        message_id: Of the reply, if one was made.
    """

    number: int
    at: float
    request: ApiRequest
    endpoint: str
    item: str | None
    rng: random.Random
    request_id: str
    betas: frozenset[str]
    body: Json | None = None
    fault: Action | None = None
    slow: tuple[Slow, ...] = ()
    objection: Refusal | None = None
    error: Refusal | None = None
    scripted: bool = False
    message_id: str | None = None

    @property
    def has_body(self) -> bool:
        """Whether the endpoint reads a body."""
        return self.endpoint in ("messages", "messages/count_tokens")

    @property
    def counted_at(self) -> float | None:
        """The clock, for a request that counts against the rate limits."""
        return self.at if self.endpoint == "messages" else None

    def circumstances(self, number: int, started: float) -> Circumstances:
        """The facts that decide whether a fault applies.

        Args:
            number: Of the last request to POST /v1/messages, this one included.
            started: The clock at the simulator's start.
        """
        kinds: set[Kind] = set()
        body = self.body or {}
        if self.endpoint == "models":
            kinds.add("models")
        elif self.request.method != "POST":
            pass  # nothing that a fault is about
        elif self.endpoint == "messages/count_tokens":
            kinds.add("count_tokens")
        elif self.endpoint == "messages":
            kinds.add("messages")
            kinds.add("stream" if body.get("stream") is True else "plain")
            if as_object(body.get("compaction")) is not None:
                kinds.add("compaction")
            if continued_id(body) is not None:
                kinds.add("thread")
        model = body.get("model")
        return Circumstances(
            number,
            frozenset(kinds),
            model if isinstance(model, str) else None,
            self.request.body,
            self.at - started,
        )

    def exchange(self, response: ApiResponse) -> LoggedRequest:
        """The entry of the log, once it is known how the request was answered."""
        return LoggedRequest(
            self.number,
            self.at,
            self.request.method,
            self.request.path.partition("?")[0],
            self.request.headers,
            self.request.body,
            self.body,
            self.betas,
            response.status,
            self.error,
            self.scripted,
            self.objection,
            None if self.fault is None else str(self.fault),
            self.message_id,
            self.request_id,
            response,
        )
