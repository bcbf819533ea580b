"""Playing scripts of trouble on an agent that is a command, and finding the shortest that
breaks it."""

import asyncio
import signal
import tempfile
import threading
from pathlib import Path
from typing import Final, final

import attrs

from turnlatch.simulator import Answer, LoggedRequest
from turnlatch.simulator.wire import objects
from turnlatch.testing.break_script import (
    BreakScript,
    TroubledMessage,
    shorter,
)
from turnlatch.testing.command_agent import AgentCommand, RunningCommand
from turnlatch.testing.defects import Defect, DefectKind
from turnlatch.testing.effects import DEATH, Effects
from turnlatch.testing.messages_api import MessagesApi
from turnlatch.testing.moves import POISON, REFUSES_POISON
from turnlatch.testing.verdict import Verdict

_SHORTER_MAX: Final = 20
"""Most scripts that are tried to shorten one."""
_OPEN: Final = frozenset({DefectKind.GAVE_UP})
"""A message may still be sent again by the process for the next one."""
_NO_PROXY: Final = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
"""A proxy of the environment must not get what is for the loopback address."""


@final
@attrs.frozen
class BreakSetup:
    """The settings of all runs of an agent.

    Attributes:
        command: The agent.
        calls: The answers to each message; a text answer follows them.
        seed: Of everything that would be random.
        tolerated: Kinds of defects that do not count.
    """

    command: AgentCommand
    calls: tuple[Answer, ...] = ()
    seed: int = 0
    tolerated: frozenset[DefectKind] = frozenset()


@final
@attrs.frozen
class PlayedScript:
    """A script that was played.

    Attributes:
        script: The script.
        words: The moves in words.
        verdict: The judgement, without what is tolerated.
        requests: The log of the server.
        stuck: The last message was not answered although nothing misbehaved.
        hung: The command did not end although nothing misbehaved.
        effects: The agent's tools keep a ledger.
        last_line: The last line that the command wrote.
    """

    script: BreakScript
    words: tuple[str, ...]
    verdict: Verdict
    requests: tuple[LoggedRequest, ...]
    stuck: bool
    hung: bool
    effects: bool
    last_line: str

    @property
    def findings(self) -> frozenset[str]:
        """The kinds of what was found; empty if the agent survived."""
        found = {str(kind) for kind in self.verdict.kinds}
        found |= {"stuck"} if self.stuck else set()
        return frozenset(found | ({"hung"} if self.hung else set()))

    @property
    def tools(self) -> frozenset[str]:
        """The names of the tools that the agent's requests offer."""
        bodies = [one.body for one in self.requests if one.body is not None]
        offered = [each for one in bodies for each in objects(one.get("tools"))]
        return frozenset(str(one.get("name")) for one in offered)


def play(setup: BreakSetup, script: BreakScript) -> PlayedScript:
    """Play a script, and then a further message with nothing misbehaving.

    It ends early where something is found.

    Raises:
        SettingsError: The command cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="turnlatch-break-") as place:
        folder = Path(place, "state")
        folder.mkdir()
        environment = dict(_NO_PROXY)
        with MessagesApi(environment, seed=setup.seed) as api:
            api.watch_effects(Effects(Path(place, "effects.jsonl")))
            # Reading it starts the server and names it in the environment.
            assert api.base_url
            run = _Run(setup, api, folder, environment)
            for message in script:
                run.say(message)
                if run.found():
                    break
            else:
                run.calm()
            return run.outcome(script)


def shortened(setup: BreakSetup, broken: PlayedScript) -> PlayedScript:
    """The run of the shortest script that was found to break the agent in the same way.

    Raises:
        SettingsError: As `play`.
    """
    tried = {broken.script}
    while True:
        for script in shorter(broken.script):
            if script in tried:
                continue
            if len(tried) > _SHORTER_MAX:
                return broken
            tried.add(script)
            played = play(setup, script)
            if played.findings & broken.findings:
                broken = played
                break
        else:
            return broken


@final
class _Run:
    """The messages of one script, each to a fresh process of the agent."""

    def __init__(
        self,
        setup: BreakSetup,
        api: MessagesApi,
        folder: Path,
        environment: dict[str, str],
    ) -> None:
        self._setup = setup
        self._api = api
        self._effects = api.effects
        self._folder = folder
        self._environment = environment
        self._said = 0
        self._poisoned = False
        self._waited: list[Defect] = []
        self._words: list[str] = []
        self._stuck = False
        self._hung = False
        self._over = False
        self._last_line = ""
        self._before = 0
        self._dies = ""
        self._running: RunningCommand | None = None
        self._known = threading.Event()
        api.on_request = self._arrived

    def say(self, message: TroubledMessage) -> None:
        """One message, with what goes wrong meanwhile."""
        self._words.append(_in_words(message))
        self._message(message, self._setup.calls)

    def calm(self) -> None:
        """A message with nothing misbehaving; it has to be answered."""
        self._words.append("(nothing misbehaves any more) say something")
        self._message(TroubledMessage(), ())
        after = self._api.requests[self._before :]
        self._stuck = not self._hung and not (after and after[-1].accepted)
        self._over = True

    def found(self) -> bool:
        """True if something is wrong, of what does not take a further message to tell."""
        return bool(self._verdict().kinds - _OPEN) or self._hung

    def outcome(self, script: BreakScript) -> PlayedScript:
        """The played script."""
        verdict = self._verdict()
        if not self._over:
            kept = (one for one in verdict.defects if one.kind not in _OPEN)
            verdict = attrs.evolve(verdict, defects=tuple(kept))
        return PlayedScript(
            script,
            tuple(self._words),
            verdict,
            self._api.requests,
            self._stuck,
            self._hung,
            bool(self._effects and self._effects.ledger),
            self._last_line,
        )

    def _verdict(self) -> Verdict:
        ledger = self._effects is not None and self._effects.ledger
        self._api.effects = self._effects if ledger else None
        verdict = self._api.verdict()
        # A process that has ended waits for nothing any more, seen by the server or not.
        ended = {DefectKind.NO_READ_TIMEOUT}
        found = [one for one in verdict.defects if one.kind not in ended]
        found += self._waited
        kept = [one for one in found if one.kind not in self._setup.tolerated]
        return attrs.evolve(verdict, defects=tuple(kept))

    def _message(self, message: TroubledMessage, calls: tuple[Answer, ...]) -> None:
        api = self._api
        self._said += 1
        self._poisoned = self._poisoned or message.refused
        api.simulator.clear_faults()
        if self._poisoned:
            api.faults(REFUSES_POISON)
        if message.fault:
            api.faults(message.fault)
        reply = f"This is reply number {self._said}, and it comes in several pieces."
        api.answers_now(*calls, reply)
        self._before = len(api.requests)
        self._dies = message.dies
        environment = dict(self._environment)
        if message.dies.startswith("effect "):
            environment[DEATH] = message.dies.removeprefix("effect ")
        prompt = f"Do it. ({self._said})" + (f" {POISON}" if message.refused else "")
        self._known.clear()
        command = self._setup.command
        with command.started(prompt, self._folder, environment) as running:
            self._running = running
            self._known.set()
            status = running.wait(command.timeout_seconds)
            if status is None:
                self._overdue(message)
        self._last_line = running.last_line
        if status == -signal.SIGKILL and message.dies.startswith("effect "):
            api.client_died()
            self._words.append("(it died; it is started again for the next message)")

    def _overdue(self, message: TroubledMessage) -> None:
        """The command has not ended in time."""
        seconds = self._setup.command.timeout_seconds
        self._words.append(f"(it had not ended after {seconds:g} s and was killed)")
        last = self._api.requests[-1:]
        self._waited += [
            one
            for one in self._api.verdict().defects
            if one.kind is DefectKind.NO_READ_TIMEOUT
            and one.requests == tuple(each.number for each in last)
        ]
        self._hung = message.plain
        self._api.client_died()

    # In the thread of the server.

    def _arrived(self) -> None:
        kind, _, number = self._dies.partition(" ")
        if number != str(len(self._api.requests) - self._before):
            return
        if kind == "request":
            self._kill()
        elif kind == "reply":
            # The reply is written to the socket in what the loop is doing now.
            asyncio.get_running_loop().call_soon(self._kill)

    def _kill(self) -> None:
        self._known.wait()
        assert self._running is not None
        self._dies = ""
        self._api.client_died()
        self._words.append("(it died; it is started again for the next message)")
        self._running.kill()


def _in_words(message: TroubledMessage) -> str:
    words = "say something"
    words += " that is refused" if message.refused else ""
    words += f"; its requests meet: {message.fault}" if message.fault else ""
    return words + (f"; its process dies at: {message.dies}" if message.dies else "")
