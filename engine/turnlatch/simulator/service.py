"""The messages endpoint: which bodies are admitted, and the reply to one that is."""

import random
from collections.abc import Container, Sequence
from typing import Final, final

import attrs

from turnlatch.simulator.answers import (
    Answer,
    Recalling,
    Responder,
    UnlinkedResultError,
)
from turnlatch.simulator.cache import PromptCache, Tally, Writes
from turnlatch.simulator.catalogue import unknown_model
from turnlatch.simulator.compaction import (
    ON_DEMAND_BETA,
    THRESHOLD_BETA,
    Prepared,
    Summary,
    iteration,
    prepare,
    signed_block,
    summary_of,
)
from turnlatch.simulator.diagnosis import Diagnoses
from turnlatch.simulator.gate import invalid
from turnlatch.simulator.judge import BINDING_BETA, Judge
from turnlatch.simulator.replies import (
    MESSAGE,
    Prompt,
    build_message,
    fresh_id,
    message,
    overridden,
    usage,
)
from turnlatch.simulator.scripted import ScriptUsedUpError
from turnlatch.simulator.signing import Notary, Places, SignedPlace
from turnlatch.simulator.threads import (
    THREADS_BETA,
    StoredThread,
    ThreadStore,
    continued_id,
    unsupported,
)
from turnlatch.simulator.tokens import count_request
from turnlatch.simulator.wire import ApiRequest, Json, Refusal, as_object
from turnlatch_states.api.models import ModelSpec, spec
from turnlatch_states.api.rules import ApiLimits, Context, check

_COUNTED: Final = frozenset(
    {
        "model",
        "messages",
        "cache_control",
        "output_config",
        "output_format",
        "safeguards",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        "billing_policy",
        "compaction",
        "context_management",
        "mcp_servers",
    }
)


@final
@attrs.frozen
class Regime:
    """The limits and models in force.

    Attributes:
        limits: The numbers.
        off: Ids of the rules that are not applied.
        keys: Collections of credentials, of which one has to hold the request's; None
            among them for any credential that is not empty.
    """

    limits: ApiLimits = attrs.field(factory=ApiLimits)
    off: frozenset[str] = frozenset()
    keys: tuple[Container[str] | None, ...] = (None,)


@final
@attrs.frozen
class Settings:
    """The settings of a service; see `Simulator` for the meaning of each.

    Attributes:
        strict: Apply the rules.
        any_model: Accept unknown models.
        binds_thinking: Enforce the binding of thinking to the text before it.
    """

    strict: bool
    any_model: bool
    binds_thinking: bool


@final
@attrs.frozen
class Admitted:
    """A body that passed, and what was found out on the way.

    Attributes:
        body: As it was sent.
        betas: The values of `anthropic-beta`.
        whole: The conversation it stands for: its own, or the thread's with its own.
        model: The model's row with the limits in force.
        prepared: The conversation as the model sees it.
        place: Where the reply will stand, if its thinking is to be bound.
        end: Where the conversation ends; None if nothing was signed by place.
        continues: The reply id the request continues from.
        transformed: The parts dropped from the input, as the reply reports them.
    """

    body: Json
    betas: frozenset[str]
    whole: Json
    model: ModelSpec | None
    prepared: Prepared
    place: SignedPlace | None
    end: SignedPlace | None
    continues: str | None
    transformed: tuple[Json, ...]


@final
@attrs.frozen
class ServedReply:
    """A message and the pace at which it comes.

    Attributes:
        message: The message.
        delay_seconds: Before the headers.
        pace_seconds: Between two events.
        writes: The pieces that it writes to the prompt cache.
    """

    message: Json
    delay_seconds: float = 0.0
    pace_seconds: float = 0.0
    writes: Writes = ()


@final
class Service:
    """Admits bodies and answers them.

    Args:
        responder: The model.
        settings: The settings of the service.
        seed: Of its signing key.
    """

    def __init__(self, responder: Responder, settings: Settings, seed: int) -> None:
        self._responder = responder
        self._settings = settings
        self._notary = Notary(seed)
        self._diagnoses = Diagnoses()
        self._cache = PromptCache()
        self._open: dict[int, tuple[str | None, str | None]] = {}
        self.threads = ThreadStore()

    def admit(
        self,
        body: Json,
        betas: frozenset[str],
        request: ApiRequest,
        regime: Regime,
        at: float,
    ) -> Admitted | Refusal:
        """Check a body of POST /v1/messages against the rules in force."""
        continues, held = None, None
        if THREADS_BETA in betas:
            continues = continued_id(body)
            held = self.threads.find(continues, at) if continues else None
        whole = body if held is None else held.whole(body)
        model = _in_force(body.get("model"), regime.limits)
        if not self._settings.strict:
            tokens = (request.size + 3) // 4
            return self._waved_through(body, betas, held, model, tokens, at)
        prepared = prepare(whole)
        places = Places(whole, self._notary)
        judge = Judge(self._notary, places, whole, betas)
        judge.enforced = self._settings.binds_thinking
        context = Context(
            betas=betas,
            body_bytes=request.size,
            version=request.header("anthropic-version") or "",
            model=model,
            verify=judge,
            count_tokens=lambda _: prepared.tokens,
            limits=regime.limits,
            held=_held_messages(continues, held),
        )
        refusal = self._refusal(body, context, regime)
        if refusal is None:
            refusal = self._thread_refusal(body, betas, continues, at)
        if refusal is not None:
            return refusal
        bound = model is not None and model.prefix_binding is True
        place = places.end if bound and self._settings.binds_thinking else None
        told = tuple(judge.transformed) if BINDING_BETA in betas else ()
        return Admitted(
            body, betas, whole, model, prepared, place, places.end, continues, told
        )

    def admit_count(
        self, body: Json, betas: frozenset[str], request: ApiRequest, regime: Regime
    ) -> Json | Refusal:
        """Answer POST /v1/messages/count_tokens: the body's length, or why not."""
        if self._settings.strict:
            for name in body:
                if name not in _COUNTED:
                    return invalid(f"{name}: Extra inputs are not permitted")
            judged = {key: value for key, value in body.items() if key != "compaction"}
            places = Places(judged, self._notary)
            context = Context(
                betas=betas,
                body_bytes=request.size,
                version=request.header("anthropic-version") or "",
                model=_in_force(body.get("model"), regime.limits),
                verify=Judge(self._notary, places, judged, betas),
                limits=regime.limits,
            )
            # The rules are those of a message; only `max_tokens` is not asked for.
            refusal = self._refusal({**judged, "max_tokens": 1}, context, regime)
            if refusal is not None:
                return refusal
        prepared = prepare(body)
        counted: dict[str, object] = {"input_tokens": prepared.tokens}
        if prepared.reported:
            before = prepare({**body, "context_management": None}).tokens
            counted["context_management"] = {"original_input_tokens": before}
        return counted

    def reply(
        self, admitted: Admitted, rng: random.Random, number: int, at: float
    ) -> ServedReply | Refusal:
        """Answer an admitted body.

        A reply on a thread counts as being written until `finish` is called, and what it
        leaves in the prompt cache cannot be read before `begin` or `finish` is.
        """
        body = admitted.body
        if as_object(body.get("compaction")) and ON_DEMAND_BETA in admitted.betas:
            reply = self._summarised(admitted, rng, at)
        else:
            made = self._answered(admitted, rng, at)
            if isinstance(made, Refusal):
                return made
            reply = made
        if reply.writes and reply.message["stop_reason"] != "refusal":
            self._cache.write(number, reply.writes, at)
        message_id = str(reply.message["id"])
        if "diagnostics" in body:
            diagnosis = self._diagnoses.diagnose(body, admitted.whole, message_id, at)
            reply = attrs.evolve(
                reply, message={**reply.message, "diagnostics": diagnosis}
            )
        if THREADS_BETA in admitted.betas and as_object(body.get("thread")):
            if admitted.continues is not None:
                self.threads.begin(admitted.continues, number, at)
            self.threads.keep(admitted.whole, reply.message, at)
            self._open[number] = (admitted.continues, message_id)
        return reply

    def spoiled(self, admitted: Admitted) -> None:
        """A fault spoils the reply that was just made for this body."""
        if isinstance(self._responder, Recalling):
            self._responder.take_back(admitted.prepared.seen)

    def begin(self, number: int, at: float) -> None:
        """The response to exchange `number` begins to leave at that time."""
        self._cache.begin(number, at)

    def finish(self, number: int) -> None:
        """The response to exchange `number` has left, whole or not."""
        self._cache.finish(number)
        self.threads.finish(number, *self._open.pop(number, (None, None)))

    def _refusal(self, body: Json, context: Context, regime: Regime) -> Refusal | None:
        for finding in check(body, context):
            if finding.rule not in regime.off:
                return Refusal(
                    finding.status, finding.type, finding.message, finding.code
                )
        if context.model is None and not self._settings.any_model:
            return unknown_model(body.get("model"))
        return None

    def _thread_refusal(
        self, body: Json, betas: frozenset[str], continues: str | None, at: float
    ) -> Refusal | None:
        if THREADS_BETA not in betas or as_object(body.get("thread")) is None:
            return None
        named = unsupported(body)
        if named:
            message = f"thread: {', '.join(named)} cannot be used with threads"
            details = (("unsupported", list(named)),)
            return attrs.evolve(
                invalid(message, "thread_unsupported_request"), details=details
            )
        if continues is None:
            return None
        return self.threads.refusal(continues, body, at)

    def _waved_through(
        self,
        body: Json,
        betas: frozenset[str],
        held: StoredThread | None,
        model: ModelSpec | None,
        tokens: int,
        at: float,
    ) -> Admitted | Refusal:
        """Admit a body unchecked, but for what would break the simulator itself."""
        if not isinstance(body.get("messages"), list):
            return invalid("messages: Field required")
        continues = continued_id(body) if THREADS_BETA in betas else None
        refusal = self._thread_refusal(body, betas, continues, at)
        if refusal is not None:
            return refusal
        whole = body if held is None else held.whole(body)
        edited = whole.get("context_management") is not None
        prepared = prepare(whole) if edited else Prepared(whole, tokens)
        return Admitted(body, betas, whole, model, prepared, None, None, continues, ())

    def _look(self, seen: Json, admitted: Admitted, at: float) -> tuple[Tally, Writes]:
        """How a prompt, which may be the admitted one, meets the cache."""
        prepared = admitted.prepared
        tokens = prepared.tokens if seen is prepared.seen else count_request(seen)
        if not self._settings.strict:
            return Tally(tokens), ()
        return self._cache.look(seen, admitted.model, tokens, at)

    def _answered(
        self, admitted: Admitted, rng: random.Random, at: float
    ) -> ServedReply | Refusal:
        prepared = admitted.prepared
        tally, writes = self._look(prepared.seen, admitted, at)
        iterations: list[Json] = []
        blocks: list[Json] = []
        place = admitted.place
        if prepared.compact is not None:
            summary = summary_of(prepared.seen, self._responder, rng)
            block: Json = {"type": "compaction", "content": summary.words}
            blocks.append(block)
            iterations.append(iteration("compaction", tally, summary.tokens))
            if prepared.compact.get("pause_after_compaction") is True:
                # A failed one pauses as well; its block has no content.
                paused = attrs.evolve(summary, stop_reason="compaction")
                built = _compacted(admitted, blocks, paused, iterations, rng)
                return ServedReply(built, writes=writes)
            place = place and self._notary.place_after_compaction(block, place)
            if summary.words is not None:
                onward: Json = {"role": "assistant", "content": blocks}
                short: Json = {**prepared.seen, "messages": [onward]}
                tally, more = self._look(short, admitted, at)
                writes = (*writes, *more)
        try:
            answer = self._answer(admitted, rng)
            prompt = Prompt(
                prepared.seen, admitted.model, tally.total, place, self._notary
            )
            built, output_tokens = build_message(answer, prompt, rng)
        except (ScriptUsedUpError, UnlinkedResultError) as problem:
            return Refusal(500, "api_error", str(problem))
        if blocks:
            content = built["content"]
            assert isinstance(content, list), "build_message gives a list"
            built["content"] = [*blocks, *content]
        counted = usage(tally, output_tokens)
        if THRESHOLD_BETA in admitted.betas:
            own = iteration("message", tally, output_tokens)
            counted["iterations"] = [*iterations, own]
        built["usage"] = overridden(counted, answer.usage)
        _report_beta(built, admitted)
        return ServedReply(built, answer.delay_seconds, answer.pace_seconds, writes)

    def _answer(self, admitted: Admitted, rng: random.Random) -> Answer:
        if admitted.body.get("max_tokens") == 0:
            return Answer((), "max_tokens")
        return self._responder.answer(admitted.prepared.seen, rng)

    def _summarised(
        self, admitted: Admitted, rng: random.Random, at: float
    ) -> ServedReply:
        prepared = admitted.prepared
        tally, writes = self._look(prepared.seen, admitted, at)
        summary = summary_of(prepared.seen, self._responder, rng)
        spent, most = summary.tokens, admitted.body.get("max_tokens")
        if isinstance(most, int) and spent > most:
            summary = attrs.evolve(summary, words=None, stop_reason="max_tokens")
        content: list[Json] = []
        if summary.words is not None:
            place = admitted.end or Places(admitted.whole, self._notary).end
            content.append(signed_block(summary.words, place, self._notary, rng))
        told = iteration("compaction", tally, spent)
        built = _compacted(admitted, content, summary, [told], rng)
        return ServedReply(built, writes=writes)


def _compacted(
    admitted: Admitted,
    content: Sequence[Json],
    summary: Summary,
    iterations: Sequence[Json],
    rng: random.Random,
) -> Json:
    """A reply that is a compaction and nothing else: its cost is in the iterations."""
    built = message(fresh_id(MESSAGE, rng), admitted.body, content, summary.stop_reason)
    counted = {**usage(Tally(0), 0), "iterations": list(iterations)}
    built["usage"] = overridden(counted, summary.usage)
    _report_beta(built, admitted)
    return built


def _report_beta(built: dict[str, object], admitted: Admitted) -> None:
    if admitted.prepared.reported:
        applied = list(admitted.prepared.applied)
        built["context_management"] = {"applied_edits": applied}
    if BINDING_BETA in admitted.betas:
        built["input_transformations"] = list(admitted.transformed)


def _held_messages(
    continues: str | None, held: StoredThread | None
) -> tuple[Json, ...] | None:
    if continues is None:
        return ()
    return None if held is None else held.messages


def _in_force(name: object, limits: ApiLimits) -> ModelSpec | None:
    known = spec(name)
    if known is None:
        return None
    if limits.context_window is not None:
        known = attrs.evolve(known, context_window=limits.context_window)
    if limits.output_max is not None:
        known = attrs.evolve(known, output_max=limits.output_max)
    return known
