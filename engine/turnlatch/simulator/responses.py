"""Responses of the API as they leave it: the headers, and errors and JSON in full."""

import random
import time
from typing import Final, final

from turnlatch.simulator.wire import ApiResponse, Chunk, Json, Refusal, dump

Headers = tuple[tuple[str, str], ...]

_JSON: Final = ("content-type", "application/json")
_REQUESTS_PER_MINUTE: Final = 4_000
_TOKENS_PER_MINUTE: Final = 2_000_000


@final
class Responses:
    """Makes responses; counts those of a minute for the rate limits it reports.

    Args:
        seed: Of the organization's id.
        rates: Whether the limits are reported at all.
    """

    def __init__(self, seed: int, *, rates: bool) -> None:
        self._organization = random.Random(seed).randbytes(16).hex()
        self._rates = rates
        self._minute = (0, 0)

    def json(
        self,
        value: Json,
        request_id: str,
        at: float | None,
        *,
        status: int = 200,
        headers: Headers = (),
    ) -> ApiResponse:
        """A complete response.

        Args:
            value: Its body.
            request_id: Its id.
            at: The clock, where it counts against the rate limits; else None.
            status: Its HTTP status.
            headers: More headers; they replace usual ones of the same name.
        """
        body = dump(value)
        size = ("content-length", str(len(body)))
        given = frozenset(name for name, _ in headers)
        known = status not in (401, 413)
        usual = self.headers(request_id, at, known=known)
        lines = (
            *(_JSON, size),
            *(each for each in usual if each[0] not in given),
            *headers,
        )
        return ApiResponse(status, lines, (Chunk(0.0, body),))

    def error(
        self,
        refusal: Refusal,
        request_id: str,
        at: float | None,
        headers: Headers = (),
    ) -> ApiResponse:
        """A refusal in its envelope; the arguments are those of `json`."""
        envelope = refusal.envelope(request_id)
        return self.json(
            envelope, request_id, at, status=refusal.status, headers=headers
        )

    def headers(
        self, request_id: str, at: float | None, *, known: bool = True
    ) -> Headers:
        """The headers of every response.

        Args:
            request_id: Its id.
            at: The clock, where it counts against the rate limits; else None.
            known: Whether it was found out who asks.
        """
        identity = ("request-id", request_id)
        if not known:
            return (identity,)
        organization = ("anthropic-organization-id", self._organization)
        if at is None or not self._rates:
            return identity, organization
        minute = int(at // 60)
        used = self._minute[1] + 1 if self._minute[0] == minute else 1
        self._minute = (minute, used)
        left = max(0, _REQUESTS_PER_MINUTE - used)
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((minute + 1) * 60))
        limits = (
            ("requests", _REQUESTS_PER_MINUTE, left),
            ("tokens", _TOKENS_PER_MINUTE, _TOKENS_PER_MINUTE),
            ("input-tokens", _TOKENS_PER_MINUTE, _TOKENS_PER_MINUTE),
            ("output-tokens", _TOKENS_PER_MINUTE, _TOKENS_PER_MINUTE),
        )
        prefix = "anthropic-ratelimit"
        return (
            identity,
            organization,
            *((f"{prefix}-{kind}-limit", str(most)) for kind, most, _ in limits),
            *((f"{prefix}-{kind}-remaining", str(rest)) for kind, _, rest in limits),
            *((f"{prefix}-{kind}-reset", reset) for kind, _, _ in limits),
        )
