"""The simulator itself: one request in, one response out, and a log of both.

No I/O, no wall clock, no global randomness. Time comes in through a callable; every id,
signature and word follows from the seed and from the request's own bytes, so that the
order in which independent conversations arrive changes nothing. The same seed, script,
requests and times give the same bytes.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Container
from hashlib import blake2b
from types import EllipsisType
from typing import Final, final

import attrs

from turnlatch.simulator.answers import Responder
from turnlatch.simulator.catalogue import get_model, list_models
from turnlatch.simulator.fault_text import parse_faults
from turnlatch.simulator.faults import (
    Action,
    Empty,
    ExpireThreads,
    Html,
    LimitChange,
    NoAnswer,
    RuleSwitch,
    Script,
    ScriptedFault,
    Slow,
    Status,
)
from turnlatch.simulator.gate import (
    beta_refusal,
    beta_values,
    credential_refusal,
    nested_too_deeply,
    parse_body,
    size_refusal,
    version_refusal,
)
from turnlatch.simulator.log import LoggedRequest, is_unscripted_rejection
from turnlatch.simulator.mangling import (
    html_page,
    mangle,
    no_answer,
    refusal_of,
    replaces,
)
from turnlatch.simulator.replies import fresh_id
from turnlatch.simulator.responses import Responses
from turnlatch.simulator.schedule import Faults, check_names, check_rules
from turnlatch.simulator.seeded import Seeded
from turnlatch.simulator.service import Admitted, Regime, ServedReply, Service, Settings
from turnlatch.simulator.streaming import stream_chunks
from turnlatch.simulator.threads import continued_id
from turnlatch.simulator.visit import Visit, route
from turnlatch.simulator.wire import ApiRequest, ApiResponse, Chunk, Json, Refusal
from turnlatch_states.api.rules import ApiLimits

_SERVED: Final = (
    "turnlatch simulates POST /v1/messages, POST /v1/messages/count_tokens, GET /v1/models"
    " and GET /v1/models/{model_id}"
)


@final
class Simulator:
    """A strict local Messages API that refuses what the real one refuses.

    It is not safe to call from several threads at once; the shells see to that.

    Args:
        model: Who answers; `Seeded(seed)` by default.
        seed: Of everything that would be random.
        faults: The fault script, parsed or as text.
        strict: Apply the rules of the API. False, for benchmarks: only parse the body;
            signatures do not bind, nothing is cached, and tokens are a quarter of the
            body's bytes.
        limits: The numbers of the API, to be tightened.
        rules_off: Ids of rules that are not applied.
        keys: The valid credentials; None accepts any that are not empty.
        any_model: Accept unknown model names.
        strict_betas: Refuse unknown names of betas. Without it only what has
            not the form of such a name is refused, since clients are ahead of any list.
        binds_thinking: Enforce, on models that have it, the binding of thinking to what
            stands before it, as for accounts made since 2026-08-31.
        clock: Seconds, rising. The default stands still, so nothing ever expires; use
            `time.time` for a server that people use.
        log_max: How many exchanges the log keeps; None for all.
        observe: Called with every exchange as it is logged.

    Raises:
        FaultScriptError: The text of the faults cannot be read.
        SettingsError: A fault names a limit or a rule that does not exist, or
            `rules_off` such a rule.
    """

    def __init__(
        self,
        model: Responder | None = None,
        *,
        seed: int = 0,
        faults: Script | str = (),
        strict: bool = True,
        limits: ApiLimits | None = None,
        rules_off: frozenset[str] = frozenset(),
        keys: Container[str] | None = None,
        any_model: bool = False,
        strict_betas: bool = False,
        binds_thinking: bool = True,
        clock: Callable[[], float] = lambda: 0.0,
        log_max: int | None = None,
        observe: Callable[[LoggedRequest], None] | None = None,
    ) -> None:
        self._clock = clock
        self._observe = observe
        self._started = clock()
        self._faults = Faults(_checked(faults))
        check_rules(rules_off)
        self._strict_betas = strict_betas
        self._base = Regime(limits or ApiLimits(), rules_off, (keys,))
        self._regime = self._base
        self._service = Service(
            model or Seeded(seed), Settings(strict, any_model, binds_thinking), seed
        )
        self._key = blake2b(b"detent.%d" % seed, digest_size=32).digest()
        self._responses = Responses(seed, rates=strict)
        self._seen: Counter[bytes] = Counter()
        self._exchanges = 0
        self._messages = 0
        self._log: deque[LoggedRequest] = deque(maxlen=log_max)
        self._left: dict[int, float] = {}

    @property
    def log(self) -> tuple[LoggedRequest, ...]:
        """Every request and how it was answered, oldest first."""
        return tuple(self._log)

    @property
    def request_bytes_max(self) -> int:
        """The longest body that is looked at, in bytes; longer ones get a 413."""
        return self._regime.limits.request_bytes_max

    def unscripted_rejections(self) -> tuple[LoggedRequest, ...]:
        """The illegal requests; empty for a correct client.

        A request counts if it was refused and neither a fault nor a change explains it,
        and also if a fault answered it but it would have been refused anyway.
        """
        return tuple(filter(is_unscripted_rejection, self._log))

    def inject(self, faults: Script | str) -> None:
        """Add faults while the simulator runs; they are asked after those it has.

        They count from now: `@1` is the next request to POST /v1/messages, and the
        seconds of `at` and `until` begin with this call.

        Args:
            faults: As a script or as its text.

        Raises:
            FaultScriptError: The text of the faults cannot be read; none was added.
            SettingsError: A fault names a limit or a rule that does not exist; none was
                added.
        """
        seconds = self._clock() - self._started
        self._faults.add(_checked(faults), self._messages, seconds)

    @property
    def pending_faults(self) -> Script:
        """The faults that a request to come can still meet, in order.

        A fault leaves the list when it was met as often as it says, when its request
        numbers have gone by, or when its time is over. One without such an end stays.
        """
        return self._faults.pending(self._messages, self._clock() - self._started)

    def clear_faults(self) -> None:
        """Forget every fault that was given so far; the next request meets none."""
        self._faults.clear()

    @property
    def unmet_faults(self) -> tuple[tuple[ScriptedFault, int], ...]:
        """The faults that happened less often than their text says, and how often.

        One without a number of times has to happen once.
        """
        return self._faults.unmet

    def change(
        self,
        *,
        limits: ApiLimits | None = None,
        rules_off: frozenset[str] | None = None,
        keys: Container[str] | EllipsisType | None = ...,
    ) -> None:
        """Change, between two requests, what is in force; what is left out stays.

        A request that is refused because of such a change counts as scripted: without
        it, or with a credential that has been good at some time, it would have passed.

        Args:
            limits: The numbers of the API from now on.
            rules_off: Ids of all the rules that are not applied from now on.
            keys: The credentials that are good from now on; None for any that is not
                empty. A set without a key revokes it, one with it restores it.

        Raises:
            SettingsError: `rules_off` names a rule that does not exist.
        """
        regime = self._regime
        if limits is not None:
            regime = attrs.evolve(regime, limits=limits)
        if rules_off is not None:
            check_rules(rules_off)
            regime = attrs.evolve(regime, off=rules_off)
        if not isinstance(keys, EllipsisType):
            regime = attrs.evolve(regime, keys=(keys,))
            if keys not in self._base.keys:
                self._base = attrs.evolve(self._base, keys=(*self._base.keys, keys))
        self._regime = regime

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
        now = visit.circumstances(self._messages, self._started)
        due = self._faults.due(now)
        self._apply(due, visit)
        outcome = self._outcome(visit, parsed)
        if visit.fault is not None and replaces(visit.fault):
            response = self._scripted(visit, visit.fault, outcome)
        elif isinstance(outcome, Refusal):
            visit.error = outcome
            response = self._refused(visit, outcome)
        else:
            response = self._reply(visit, outcome)
        for action in visit.slow:
            response = mangle(response, action, visit.request_id)
        if request.method == "HEAD":
            # The head of what would have come, whatever that is, and no body.
            response = attrs.evolve(response, chunks=())
        self._service.begin(visit.number, visit.at + response.delay_seconds)
        response = attrs.evolve(response, number=visit.number)
        exchange = visit.exchange(response)
        if len(self._log) == self._log.maxlen:
            self._left.pop(self._log[0].number if self._log else 0, None)
        self._log.append(exchange)
        if self._observe is not None:
            self._observe(exchange)
        return response

    def finish(self, response: ApiResponse) -> None:
        """Say that a response has left, whole or not; nothing happens the second time.

        A server thread counts as in flight until then, and what the response leaves in
        the prompt cache can be read then at the latest.
        """
        self._service.finish(response.number)
        if self._log and response.number >= self._log[0].number:
            self._left.setdefault(response.number, self._clock())

    def left_at(self, number: int) -> float | None:
        """When an exchange of the log was over: its answer had left, or the client had
        gone. By the simulator's clock; None while it is going on."""
        return self._left.get(number)

    def _visit(self, request: ApiRequest) -> Visit:
        self._exchanges += 1
        endpoint, item = route(request)
        if endpoint == "messages" and request.method == "POST":
            self._messages += 1
        digest = blake2b(request.body, key=self._key, digest_size=16).digest()
        self._seen[digest] += 1
        # The occurrence makes a repeated body another sample, as it is in reality.
        rng = random.Random(int.from_bytes(digest) ^ (self._seen[digest] << 128))
        return Visit(
            self._exchanges,
            self._clock(),
            request,
            endpoint,
            item,
            rng,
            fresh_id("req", rng),
            beta_values(request),
        )

    def _parsed(self, visit: Visit) -> Json | Refusal | None:
        if not visit.has_body or visit.request.size > self.request_bytes_max:
            return None
        parsed = parse_body(visit.request)
        visit.body = None if isinstance(parsed, Refusal) else parsed
        return parsed

    def _apply(self, due: tuple[Action, ...], visit: Visit) -> None:
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
        self, visit: Visit, parsed: Json | Refusal | None
    ) -> Admitted | Json | Refusal:
        """What the API itself says: an error, an admitted body, or an answer."""
        outcome = self._verdict(visit, parsed, self._regime)
        if isinstance(outcome, Refusal):
            visit.scripted = self._is_scripted(visit, parsed, outcome)
        return outcome

    def _verdict(
        self, visit: Visit, parsed: Json | Refusal | None, regime: Regime
    ) -> Admitted | Json | Refusal:
        """The outcome under some rules, which need not be those in force."""
        request = visit.request
        if not visit.endpoint:
            return Refusal(404, "not_found_error", f"Not found. {_SERVED}")
        methods = ("GET", "HEAD") if visit.endpoint == "models" else ("POST",)
        if request.method not in methods:
            return Refusal(405, "invalid_request_error", "Method Not Allowed")
        refusal = (
            size_refusal(request, regime.limits.request_bytes_max)
            or credential_refusal(request, regime.keys)
            or version_refusal(request)
        )
        if refusal is not None:
            return refusal
        if isinstance(parsed, Refusal):
            return parsed
        refusal = beta_refusal(visit.betas, strict=self._strict_betas)
        if refusal is not None:
            return refusal
        if parsed is None:
            if visit.item is not None:
                return get_model(visit.item)
            return list_models(request.path.partition("?")[2])
        try:
            if visit.endpoint == "messages/count_tokens":
                return self._service.admit_count(parsed, visit.betas, request, regime)
            return self._service.admit(parsed, visit.betas, request, regime, visit.at)
        except RecursionError:
            # The parser took it, but what is nested so deeply cannot be looked at.
            return nested_too_deeply()

    def _is_scripted(
        self, visit: Visit, parsed: Json | Refusal | None, refusal: Refusal
    ) -> bool:
        """True if only the script explains a refusal: without it the request is legal."""
        if refusal.code == "thread_not_found":
            previous = continued_id(visit.body or {}) or ""
            return self._service.threads.was_forgotten_by_order(previous)
        if self._regime == self._base:
            return False
        if refusal.status == 413:
            if visit.request.body_bytes is not None:
                # The body was not read, so only its length can be judged.
                return not size_refusal(
                    visit.request, self._base.limits.request_bytes_max
                )
            parsed = parse_body(visit.request) if visit.has_body else None
        return not isinstance(self._verdict(visit, parsed, self._base), Refusal)

    def _scripted(
        self, visit: Visit, fault: Action, outcome: Admitted | Json | Refusal
    ) -> ApiResponse:
        if isinstance(outcome, Refusal) and not visit.scripted:
            visit.objection = outcome
        visit.scripted = True
        match fault:
            case Status():
                visit.error = refusal_of(fault)
                return self._refused(visit, visit.error, fault.headers)
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
                usual = self._responses.headers(visit.request_id, visit.counted_at)
                return ApiResponse(200, (*headers, *usual), ())
            case NoAnswer():
                visit.error = Refusal(0, fault.ending, "no answer at all")
                return no_answer(fault)
            case _:
                raise AssertionError(f"{fault} does not replace an answer")

    def _reply(self, visit: Visit, outcome: Admitted | Json) -> ApiResponse:
        if not isinstance(outcome, Admitted):
            return self._responses.json(outcome, visit.request_id, visit.counted_at)
        reply: ServedReply | Refusal
        try:
            reply = self._service.reply(outcome, visit.rng, visit.number, visit.at)
        except RecursionError:
            reply = nested_too_deeply()
        if isinstance(reply, Refusal):
            visit.error = reply
            return self._refused(visit, reply)
        visit.message_id = str(reply.message["id"])
        if outcome.body.get("stream") is True:
            headers = (
                ("content-type", "text/event-stream; charset=utf-8"),
                ("cache-control", "no-cache"),
                *self._responses.headers(visit.request_id, visit.counted_at),
            )
            chunks = stream_chunks(reply.message, reply.pace_seconds)
            response = ApiResponse(200, headers, chunks)
        else:
            at = visit.counted_at
            response = self._responses.json(reply.message, visit.request_id, at)
        if reply.delay_seconds:
            response = attrs.evolve(response, delay_seconds=reply.delay_seconds)
        if visit.fault is not None:
            visit.scripted = True
            whole, response = response, mangle(response, visit.fault, visit.request_id)
            if response != whole:
                self._service.spoiled(outcome)
        return response

    def _refused(
        self,
        visit: Visit,
        refusal: Refusal,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> ApiResponse:
        at = visit.counted_at
        return self._responses.error(refusal, visit.request_id, at, headers)


def _checked(faults: Script | str) -> Script:
    script = parse_faults(faults) if isinstance(faults, str) else faults
    check_names(script)
    return script
