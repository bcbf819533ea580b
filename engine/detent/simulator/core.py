"""The simulator itself: one request in, one response out, and a log of both.

No I/O, no wall clock, no global randomness. Time comes in through a callable; every id,
signature and word follows from the seed and from the request's own bytes, so that the
order in which independent conversations arrive changes nothing. The same seed, script,
requests and times give the same bytes.
"""

import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Container
from hashlib import blake2b
from typing import Final, final

import attrs

from detent.errors import SettingsError
from detent.simulator.answers import Responder
from detent.simulator.catalogue import get_model, list_models
from detent.simulator.fault_text import parse_faults
from detent.simulator.faults import (
    Action,
    Empty,
    ExpireThreads,
    Html,
    Kind,
    LimitChange,
    NoAnswer,
    RuleSwitch,
    Script,
    Slow,
    Status,
)
from detent.simulator.gate import (
    beta_refusal,
    beta_values,
    credential_refusal,
    nested_too_deeply,
    parse_body,
    size_refusal,
    version_refusal,
)
from detent.simulator.log import Exchange, is_unscripted_rejection
from detent.simulator.mangling import (
    html_page,
    mangle,
    no_answer,
    refusal_of,
    replaces,
)
from detent.simulator.replies import fresh_id
from detent.simulator.schedule import Circumstances, Faults
from detent.simulator.seeded import Seeded
from detent.simulator.service import Admitted, Regime, Reply, Service, Settings
from detent.simulator.streaming import stream_chunks
from detent.simulator.threads import continued_id
from detent.simulator.wire import (
    ApiRequest,
    ApiResponse,
    Chunk,
    Json,
    Refusal,
    as_object,
    dump,
)
from detent_states.rules import RULES, Limits

_ROUTE: Final = re.compile(
    r"(?:.*)/v1/(messages/count_tokens|messages|models)(?:/([^/]+))?/?"
)
_JSON: Final = ("content-type", "application/json")
_REQUESTS_PER_MINUTE: Final = 4_000
_TOKENS_PER_MINUTE: Final = 2_000_000


@final
@attrs.define
class _Visit:
    """One request on its way through."""

    number: int
    at: float
    request: ApiRequest
    path: str
    endpoint: str
    item: str | None
    rng: random.Random
    request_id: str
    betas: frozenset[str] = frozenset()
    body: Json | None = None
    fault: Action | None = None
    slow: tuple[Slow, ...] = ()
    objection: Refusal | None = None
    error: Refusal | None = None
    scripted: bool = False
    message_id: str | None = None


@final
class Simulator:
    """A strict local Messages API that refuses what the real one refuses.

    It is not safe to call from several threads at once; the shells see to that.

    Args:
        model: Who answers; `Seeded(seed)` by default.
        seed: Of everything that would be random.
        faults: What goes wrong, as a script or as its text.
        strict: Apply the rules of the API. False, for benchmarks: only parse the body;
            signatures do not bind, and tokens are a quarter of the body's bytes.
        limits: The numbers of the API, to be tightened.
        rules_off: Ids of rules that are not applied.
        keys: The credentials that are good; None for any that is not empty.
        any_model: Accept model names that nobody knows.
        binds_thinking: Enforce, on models that have it, the binding of thinking to what
            stands before it, as for accounts made since 2026-08-31.
        clock: Seconds, rising. The default stands still, so nothing ever expires; use
            `time.time` for a server that people use.
        log_max: How many exchanges the log keeps; None for all.
        observe: Called with every exchange as it is logged.

    Raises:
        FaultScriptError: The text of the faults cannot be read.
        SettingsError: A fault names a limit or a rule that does not exist.
    """

    def __init__(
        self,
        model: Responder | None = None,
        *,
        seed: int = 0,
        faults: Script | str = (),
        strict: bool = True,
        limits: Limits | None = None,
        rules_off: frozenset[str] = frozenset(),
        keys: Container[str] | None = None,
        any_model: bool = False,
        binds_thinking: bool = True,
        clock: Callable[[], float] = lambda: 0.0,
        log_max: int | None = None,
        observe: Callable[[Exchange], None] | None = None,
    ) -> None:
        script = parse_faults(faults) if isinstance(faults, str) else faults
        _check_names(script)
        self._strict = strict
        self._keys = keys
        self._clock = clock
        self._observe = observe
        self._started = clock()
        self._faults = Faults(script)
        self._base = Regime(limits or Limits(), rules_off)
        self._regime = self._base
        self._service = Service(
            model or Seeded(seed), Settings(strict, any_model, binds_thinking), seed
        )
        self._key = blake2b(b"detent.%d" % seed, digest_size=32).digest()
        self._organization = random.Random(seed).randbytes(16).hex()
        self._seen: Counter[bytes] = Counter()
        self._exchanges = 0
        self._messages = 0
        self._minute = (0, 0)
        self._log: deque[Exchange] = deque(maxlen=log_max)

    @property
    def log(self) -> tuple[Exchange, ...]:
        """Every request and how it was answered, oldest first."""
        return tuple(self._log)

    @property
    def request_bytes_max(self) -> int:
        """The longest body that is looked at, in bytes; longer ones get a 413."""
        return self._regime.limits.request_bytes_max

    def unscripted_rejections(self) -> tuple[Exchange, ...]:
        """The requests that were illegal; for a correct client there are none.

        A request counts if it was refused and no fault explains it, and also if a fault
        answered it but it would have been refused anyway.
        """
        return tuple(filter(is_unscripted_rejection, self._log))

    def handle(self, request: ApiRequest) -> ApiResponse:
        """Answer one request.

        Args:
            request: It, complete.

        Returns:
            What to play back. The shell calls `finish` when, or just before, the last
            chunk leaves, or when the client has gone.
        """
        visit = self._visit(request)
        parsed = self._parsed(visit)
        due = self._faults.due(self._circumstances(visit))
        self._apply(due, visit)
        outcome = self._outcome(visit, parsed)
        if visit.fault is not None and replaces(visit.fault):
            response = self._scripted(visit, visit.fault, outcome)
        elif isinstance(outcome, Refusal):
            visit.error = outcome
            response = self._error(visit, outcome)
        else:
            response = self._reply(visit, outcome)
        for action in visit.slow:
            response = mangle(response, action, visit.request_id)
        exchange = _exchange(visit, response.status)
        self._log.append(exchange)
        if self._observe is not None:
            self._observe(exchange)
        return attrs.evolve(response, number=visit.number)

    def finish(self, response: ApiResponse) -> None:
        """Say that a response has left, whole or not; nothing happens the second time.

        A server thread counts as in flight until then.
        """
        self._service.finish(response.number)

    def _visit(self, request: ApiRequest) -> _Visit:
        self._exchanges += 1
        path = request.path.partition("?")[0]
        found = _ROUTE.fullmatch(path)
        endpoint, item = ("", None) if found is None else found.groups()
        if item is not None and endpoint != "models":
            endpoint = ""
        if endpoint == "messages" and request.method == "POST":
            self._messages += 1
        digest = blake2b(request.body, key=self._key, digest_size=16).digest()
        self._seen[digest] += 1
        # The occurrence makes a repeated body another sample, as it is in reality.
        rng = random.Random(int.from_bytes(digest) ^ (self._seen[digest] << 128))
        visit = _Visit(
            self._exchanges,
            self._clock(),
            request,
            path,
            endpoint,
            item,
            rng,
            fresh_id("req", rng),
        )
        visit.betas = beta_values(request)
        return visit

    def _parsed(self, visit: _Visit) -> Json | Refusal | None:
        if visit.endpoint not in ("messages", "messages/count_tokens"):
            return None
        if visit.request.size > self.request_bytes_max:
            return None
        parsed = parse_body(visit.request)
        visit.body = None if isinstance(parsed, Refusal) else parsed
        return parsed

    def _circumstances(self, visit: _Visit) -> Circumstances:
        kinds: set[Kind] = set()
        body = visit.body or {}
        if visit.endpoint == "messages/count_tokens":
            kinds.add("count_tokens")
        elif visit.endpoint == "models":
            kinds.add("models")
        elif visit.endpoint == "messages":
            kinds.add("messages")
            kinds.add("stream" if body.get("stream") is True else "plain")
            if as_object(body.get("compaction")) is not None:
                kinds.add("compaction")
            if continued_id(body) is not None:
                kinds.add("thread")
        model = body.get("model")
        return Circumstances(
            self._messages,
            frozenset(kinds),
            model if isinstance(model, str) else None,
            visit.request.body,
            visit.at - self._started,
        )

    def _apply(self, due: tuple[Action, ...], visit: _Visit) -> None:
        for action in due:
            match action:
                case Slow():
                    visit.slow = (*visit.slow, action)
                case RuleSwitch(rule, on):
                    off = self._regime.off - {rule} if on else self._regime.off | {rule}
                    self._regime = attrs.evolve(self._regime, off=off)
                case LimitChange(name, value):
                    limits = attrs.evolve(self._regime.limits, **{name: value})
                    self._regime = attrs.evolve(self._regime, limits=limits)
                case ExpireThreads():
                    self._service.threads.forget_all()
                case _:
                    visit.fault = action

    def _outcome(
        self, visit: _Visit, parsed: Json | Refusal | None
    ) -> Admitted | Json | Refusal:
        """What the API itself says: an error, an admitted body, or an answer."""
        request = visit.request
        if not visit.endpoint:
            return Refusal(404, "not_found_error", "Not found")
        if request.method != ("GET" if visit.endpoint == "models" else "POST"):
            return Refusal(405, "invalid_request_error", "Method Not Allowed")
        refusal = (
            size_refusal(request, self.request_bytes_max)
            or credential_refusal(request, self._keys)
            or version_refusal(request)
        )
        if refusal is not None:
            return refusal
        if isinstance(parsed, Refusal):
            return parsed
        refusal = beta_refusal(visit.betas)
        if refusal is not None:
            return refusal
        if parsed is None:
            if visit.item is not None:
                return get_model(visit.item)
            return list_models(request.path.partition("?")[2])
        judged = self._judged(visit, parsed, self._regime)
        if isinstance(judged, Refusal):
            visit.scripted = self._is_scripted(visit, parsed, judged)
        return judged

    def _judged(
        self, visit: _Visit, body: Json, regime: Regime
    ) -> Admitted | Json | Refusal:
        request, betas = visit.request, visit.betas
        try:
            if visit.endpoint == "messages/count_tokens":
                return self._service.admit_count(body, betas, request, regime)
            return self._service.admit(body, betas, request, regime, visit.at)
        except RecursionError:
            # The parser took it, but what is nested so deeply cannot be looked at.
            return nested_too_deeply()

    def _is_scripted(self, visit: _Visit, body: Json, refusal: Refusal) -> bool:
        """Whether only the script explains a refusal: without it there is none."""
        if refusal.code == "thread_not_found":
            previous = continued_id(body) or ""
            return self._service.threads.was_forgotten_by_order(previous)
        if self._regime == self._base:
            return False
        return not isinstance(self._judged(visit, body, self._base), Refusal)

    def _scripted(
        self, visit: _Visit, fault: Action, outcome: Admitted | Json | Refusal
    ) -> ApiResponse:
        if isinstance(outcome, Refusal) and not visit.scripted:
            visit.objection = outcome
        visit.scripted = True
        match fault:
            case Status():
                visit.error = refusal_of(fault)
                return self._error(visit, visit.error, fault.headers)
            case Html(status):
                page = html_page(status)
                visit.error = Refusal(status, "html", "a page instead of an answer")
                headers = (
                    ("content-type", "text/html"),
                    ("content-length", str(len(page))),
                )
                return ApiResponse(status, headers, (Chunk(0.0, page),))
            case Empty():
                visit.error = Refusal(200, "empty", "nothing at all")
                streamed = (visit.body or {}).get("stream") is True
                kind = "text/event-stream" if streamed else "application/json"
                headers = (("content-type", kind), ("content-length", "0"))
                return ApiResponse(200, (*headers, *self._headers(visit)), ())
            case NoAnswer():
                visit.error = Refusal(0, fault.ending, "no answer at all")
                return no_answer(fault)
            case _:
                raise AssertionError(f"{fault} does not replace an answer")

    def _reply(self, visit: _Visit, outcome: Admitted | Json) -> ApiResponse:
        if not isinstance(outcome, Admitted):
            return self._whole(visit, outcome)
        reply: Reply | Refusal
        try:
            reply = self._service.reply(outcome, visit.rng, visit.number, visit.at)
        except RecursionError:
            reply = nested_too_deeply()
        if isinstance(reply, Refusal):
            visit.error = reply
            return self._error(visit, reply)
        visit.message_id = str(reply.message["id"])
        if outcome.body.get("stream") is True:
            headers = (
                ("content-type", "text/event-stream; charset=utf-8"),
                ("cache-control", "no-cache"),
                *self._headers(visit),
            )
            chunks = stream_chunks(reply.message, reply.pace_seconds)
            response = ApiResponse(200, headers, chunks)
        else:
            response = self._whole(visit, reply.message)
        if reply.delay_seconds:
            response = attrs.evolve(response, delay_seconds=reply.delay_seconds)
        if visit.fault is not None:
            visit.scripted = True
            response = mangle(response, visit.fault, visit.request_id)
        return response

    def _whole(self, visit: _Visit, value: Json) -> ApiResponse:
        return self._response(visit, 200, dump(value))

    def _error(
        self,
        visit: _Visit,
        refusal: Refusal,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> ApiResponse:
        body = dump(refusal.envelope(visit.request_id))
        return self._response(visit, refusal.status, body, headers)

    def _response(
        self,
        visit: _Visit,
        status: int,
        body: bytes,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> ApiResponse:
        size = ("content-length", str(len(body)))
        given = frozenset(name for name, _ in headers)
        usual = (each for each in self._headers(visit) if each[0] not in given)
        lines = (_JSON, size, *usual, *headers)
        return ApiResponse(status, lines, (Chunk(0.0, body),))

    def _headers(self, visit: _Visit) -> tuple[tuple[str, str], ...]:
        """The headers of every response; the rate limits only in strict mode."""
        request_id = ("request-id", visit.request_id)
        if visit.error is not None and visit.error.status in (401, 413):
            return (request_id,)
        organization = ("anthropic-organization-id", self._organization)
        if not self._strict or visit.endpoint != "messages":
            return request_id, organization
        minute = int(visit.at // 60)
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
            request_id,
            organization,
            *((f"{prefix}-{kind}-limit", str(most)) for kind, most, _ in limits),
            *((f"{prefix}-{kind}-remaining", str(rest)) for kind, _, rest in limits),
            *((f"{prefix}-{kind}-reset", reset) for kind, _, _ in limits),
        )


def _check_names(script: Script) -> None:
    limits = sorted(field.name for field in attrs.fields(Limits))
    rules = [rule.id for rule in RULES]
    for fault in script:
        match fault.action:
            case LimitChange(name) if name not in limits:
                kind, known = "limit", limits
            case RuleSwitch(name) if name not in rules:
                kind, known = "rule", rules
            case _:
                continue
        raise SettingsError(
            f"faults: {fault}",
            f"there is no {kind} {name!r}",
            f"name one of {', '.join(known)}",
        )


def _exchange(visit: _Visit, status: int) -> Exchange:
    return Exchange(
        visit.number,
        visit.at,
        visit.request.method,
        visit.path,
        visit.request.headers,
        visit.request.body,
        visit.body,
        visit.betas,
        status,
        visit.error,
        visit.scripted,
        visit.objection,
        None if visit.fault is None else str(visit.fault),
        visit.message_id,
        visit.request_id,
    )
