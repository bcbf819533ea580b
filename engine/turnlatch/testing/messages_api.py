"""A strict Messages API for one test: answers, faults, a clock, and a verdict.

Under pytest it is the fixture `messages_api`. Without pytest:

    with MessagesApi() as messages_api:
        messages_api.answers("Hello.")
        ...
"""

import contextlib
import os
import time
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Final, final

import anyio.lowlevel
import attrs

from turnlatch.errors import SettingsError
from turnlatch.simulator import (
    Answer,
    ApiLimits,
    CutEvents,
    ErrorEvent,
    LoggedRequest,
    Script,
    Scripted,
    Seeded,
    Server,
    Simulator,
    run_in_thread,
)
from turnlatch.testing.defects import Defect, DefectKind
from turnlatch.testing.effects import EFFECTS_FILE, Effects, EffectsError
from turnlatch.testing.judge_effects import untrue_results
from turnlatch.testing.observed import ObservedRequest, observe
from turnlatch.testing.picture import ClientDeath, sequence_picture
from turnlatch.testing.verdict import Verdict, judge, ordered

if TYPE_CHECKING:
    import anthropic

VARIABLES: Final = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY")
"""The environment variables that lead a client to the server of a test."""


_WAITS: Final = DefectKind.NO_READ_TIMEOUT
_STREAMED: Final = (CutEvents, ErrorEvent)
"""Faults that plain replies do not meet."""


class FaultsNotMetError(AssertionError):
    """Faults that a test declared did not happen."""


@final
class SkippingClock:
    """The real time, plus every sleep that was skipped by this clock.

    A client that is given this clock waits no time; the waits of one that sleeps by
    itself count all the same. So the pauses between requests are right for both.
    """

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._skipped

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() + self._skipped

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        await anyio.lowlevel.checkpoint()
        self._skipped += seconds

    def skip(self, seconds: float) -> None:
        """Let the time pass at once, from code that is not `async`."""
        self._skipped += seconds


@final
class MessagesApi:
    """A strict Messages API, in this process or on a loopback address.

    Args:
        environment: Where `base_url` sets the variables that lead clients to it;
            `os.environ` by default. They get their former values when it is closed.
        seed: Of everything that would be random.
        limits: The numbers of the API, to be tightened.

    Attributes:
        simulator: The server.
        clock: Its time.
        effects: The ledger that a verdict takes into account; None without one.
        environment: Where the variables are set that lead clients to it.
        on_request: Called when a request to it has arrived, before it is answered.
    """

    def __init__(
        self,
        environment: MutableMapping[str, str] | None = None,
        *,
        seed: int = 0,
        limits: ApiLimits | None = None,
    ) -> None:
        self.clock = SkippingClock()
        self.effects: Effects | None = None
        self._script = Scripted([], then=Seeded(seed))
        self.on_request: Callable[[], None] = lambda: None
        self.simulator = Simulator(
            self._script,
            seed=seed,
            limits=limits,
            clock=self.clock.now,
            observe=lambda _: self.on_request(),
        )
        self.environment = os.environ if environment is None else environment
        self._stack = contextlib.ExitStack()
        self._server: Server | None = None
        self._deaths: set[int] = set()
        self._kills: list[ClientDeath] = []
        self._waits: list[Defect] | None = None  # of processes that have ended

    def __enter__(self) -> "MessagesApi":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and restore the environment. Idempotent."""
        self._stack.close()
        self._server = None

    # Its answers and faults.

    def answers(self, *answers: Answer | str) -> None:
        """Answer with these, in order; after the last one answers are made up.

        Raises:
            SettingsError: One is neither an answer nor a string.
        """
        self._script.add(*answers)

    def answers_now(self, *answers: Answer | str) -> None:
        """Forget the answers that are left, and answer with these.

        Raises:
            SettingsError: As `answers`.
        """
        self._script.replace(*answers)

    def faults(self, script: Script | str) -> None:
        """Misbehave; `@1` is the next request.

        Raises:
            FaultScriptError: The text of the faults cannot be read; it says what can be.
            SettingsError: A fault names a limit or a rule that does not exist.
        """
        self.simulator.inject(script)

    # How clients reach it.

    def client(self) -> "anthropic.AsyncAnthropic":
        """The SDK's asynchronous client, in this process, with its own retries.

        Delays that the script asks for pass by `clock` and take no time.
        """
        import anthropic
        import httpx2

        from turnlatch.simulator.transport import SimulatorTransport

        transport = SimulatorTransport(self.simulator, sleep=self.clock.sleep)
        return anthropic.AsyncAnthropic(
            api_key="test",
            base_url="http://simulator.invalid",
            http_client=httpx2.AsyncClient(transport=transport),
        )

    def sync_client(self) -> "anthropic.Anthropic":
        """The SDK's synchronous client; otherwise as `client`."""
        import anthropic
        import httpx2

        from turnlatch.simulator.transport import SyncSimulatorTransport

        transport = SyncSimulatorTransport(self.simulator, sleep=self.clock.skip)
        return anthropic.Anthropic(
            api_key="test",
            base_url="http://simulator.invalid",
            http_client=httpx2.Client(transport=transport),
        )

    @property
    def base_url(self) -> str:
        """The base URL of a real server on a loopback address, started at the first use.

        `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` are set from then on, so that any
        SDK and any subprocess finds it. Delays take real time there.
        """
        if self._server is None:
            self._server = self._stack.enter_context(run_in_thread(self.simulator))
            for name, value in zip(
                VARIABLES, (self._server.base_url, "test"), strict=True
            ):
                self._set(name, value)
        return self._server.base_url

    def watch_effects(self, effects: Effects) -> None:
        """Judge these effects, too; processes started from now on share the ledger if it
        is in a file."""
        self.effects = effects
        effects.clock = self.clock.now
        if effects.file is not None:
            self._set(EFFECTS_FILE, str(effects.file))

    def _set(self, name: str, value: str) -> None:
        before = self.environment.get(name)
        self.environment[name] = value

        def restore() -> None:
            if before is None:
                self.environment.pop(name, None)
            else:
                self.environment[name] = before

        self._stack.callback(restore)

    # The outcome.

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """Every request and how it was answered, oldest first."""
        return self.simulator.log

    def all_faults_fired(self) -> None:
        """Every declared fault happened as often as its text says.

        Raises:
            FaultsNotMetError: One did not: the test proves nothing about it.
        """
        unmet = self.simulator.unmet_faults
        if not unmet:
            return
        many = len(self.requests)
        lines = [f"  {fault} (happened {fired} times)" for fault, fired in unmet]
        if any(isinstance(fault.action, _STREAMED) for fault, _ in unmet) and not any(
            (one.body or {}).get("stream") is True for one in self.requests
        ):
            lines.append(
                "  `cut N` and `error` break streams; no stream was asked for."
            )
        remedy = "Send more, or declare fewer faults."
        if not many:
            remedy = "Give it client() or sync_client(), or let it use base_url."
        raise FaultsNotMetError(
            "These faults did not happen:\n"
            + "\n".join(lines)
            + f"\nThe client sent {many} requests. {remedy}"
        )

    def verdict(self) -> Verdict:
        """The client's defects on the wire, and those of its effects if they are watched."""
        verdict = self._judged()
        if self._waits is None:
            return verdict
        kept = [one for one in verdict.defects if one.kind is not _WAITS]
        return attrs.evolve(verdict, defects=ordered([*kept, *self._waits]))

    def _judged(self) -> Verdict:
        ledger = None if self.effects is None else self.effects.ledger
        return judge(self.simulator, ledger, self._deaths)

    def told_truthfully(self) -> None:
        """Every result that the model reads agrees with the ledger of effects: it says
        that nothing was done only where nothing was, reads like a success only where the
        tool ran, and is not the result of a parallel call.

        Raises:
            SettingsError: No effects are watched.
            EffectsError: A result is untrue; the text lists them.
        """
        if self.effects is None:
            raise SettingsError(
                "effects",
                "no effects are watched",
                "call watch_effects(Effects()) first",
            )
        ledger = self.effects.ledger
        untrue = list(untrue_results(self._observed(), ledger))
        if untrue:
            raise EffectsError("These results are untrue:\n  " + "\n  ".join(untrue))

    def picture(self) -> str:
        """The requests, their answers, the effects and the deaths of the client, as a
        sequence in text of at most 100 columns."""
        requests = (one for each in self._observed() for one in each)
        ledger = () if self.effects is None else self.effects.ledger
        return "\n".join(sequence_picture(requests, ledger, self._kills))

    def _observed(self) -> tuple[tuple[ObservedRequest, ...], ...]:
        return observe(self.simulator, self._deaths)

    def client_died(self, point: str = "") -> None:
        """The client was killed: it is not to blame for what it did not do after that.

        Args:
            point: The point at which it was killed, in words, for `picture`.
        """
        self.asked_again()
        after = max(self._deaths)
        self._kills.append(ClientDeath(after, self.clock.now(), point))

    def client_ended(self, *, overdue: bool = False) -> None:
        """The client's process has ended: it waits for no answer any more, whether or not
        the server has seen that yet.

        Args:
            overdue: It is about to be killed, because it has not ended in time: if its
                last request waits for an answer that has stopped, it has no read timeout.
        """
        waits = [] if self._waits is None else self._waits
        if overdue:
            last = tuple(one.number for one in self.requests[-1:])
            waits += [
                one
                for one in self._judged().defects
                if one.kind is _WAITS and one.requests == last
            ]
            self.client_died()
        self._waits = waits

    def asked_again(self) -> None:
        """A person asks for the same once more: a repetition is not the client's fault."""
        self._deaths.add(self.requests[-1].number if self.requests else 0)
