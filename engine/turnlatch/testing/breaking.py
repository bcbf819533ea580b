"""Playing scripts of trouble on an agent that is a command, and finding the shortest that
breaks it."""

import itertools
import tempfile
from pathlib import Path
from typing import Final, final

import attrs

from turnlatch.simulator import Answer, LoggedRequest
from turnlatch.testing.agents import AgentWorld
from turnlatch.testing.break_script import (
    BreakScript,
    TroubledMessage,
    shorter,
)
from turnlatch.testing.command_agent import AgentCommand, CommandAgent
from turnlatch.testing.defects import DefectKind
from turnlatch.testing.effects import Effects
from turnlatch.testing.messages_api import MessagesApi
from turnlatch.testing.moves import POISON, REFUSES_POISON
from turnlatch.testing.observed import observe
from turnlatch.testing.verdict import Verdict

_SHORTER_MAX: Final = 20
"""Most scripts that are tried to shorten one."""
_OPEN: Final = frozenset({DefectKind.GAVE_UP})
"""A message may still be sent again by the process for the next one."""


@final
@attrs.frozen
class BreakSetup:
    """The settings of all runs of an agent.

    Attributes:
        command: The agent.
        calls: The answers to each message; a text answer follows them.
        seed: Of everything that would be random.
        tolerated: Kinds of defects that do not count.
        to_the_end: Play the whole script, also after something was found.
    """

    command: AgentCommand
    calls: tuple[Answer, ...] = ()
    seed: int = 0
    tolerated: frozenset[DefectKind] = frozenset()
    to_the_end: bool = False


@final
@attrs.frozen
class PlayedMessage:
    """One message of a script that was played.

    Attributes:
        prompt: Its text.
        answer: The text of the last reply that its process got; empty if that was not
            whole.
        ended_well: The process ended by itself, with status 0.
        requests: The requests of the process.
        unmet: One of its faults never happened.
    """

    prompt: str
    answer: str
    ended_well: bool
    requests: tuple[LoggedRequest, ...]
    unmet: bool


@final
@attrs.frozen
class PlayedScript:
    """A script that was played.

    Attributes:
        script: The script.
        words: The moves in words.
        verdict: The judgement, without what is tolerated.
        picture: What happened, as a sequence.
        requests: The log of the server.
        stuck: The last message was not answered although nothing misbehaved.
        hung: The command did not end although nothing misbehaved.
        effects: The agent's tools keep a ledger.
        ended: How the command ended for the last message, in words.
        messages: Each message of it.
    """

    script: BreakScript
    words: tuple[str, ...]
    verdict: Verdict
    picture: str
    requests: tuple[LoggedRequest, ...]
    stuck: bool
    hung: bool
    effects: bool
    ended: str
    messages: tuple[PlayedMessage, ...] = ()

    @property
    def findings(self) -> frozenset[str]:
        """The kinds of what was found; empty if the agent survived."""
        found = {str(kind) for kind in self.verdict.kinds}
        found |= {"stuck"} if self.stuck else set()
        return frozenset(found | ({"hung"} if self.hung else set()))


def play(setup: BreakSetup, script: BreakScript) -> PlayedScript:
    """Play a script, and then a further message with nothing misbehaving.

    It ends early where something is found, unless the setup says otherwise.

    Raises:
        SettingsError: The command cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="turnlatch-break-") as place:
        folder = Path(place, "state")
        folder.mkdir()
        with MessagesApi(environment={}, seed=setup.seed) as api:
            run = _Run(setup, AgentWorld(api, Effects(), {}, folder))
            for message in script:
                run.say(message)
                if run.found() and not setup.to_the_end:
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

    def __init__(self, setup: BreakSetup, world: AgentWorld) -> None:
        self._setup = setup
        self._api = world.api
        self._effects = world.effects
        command = setup.command
        self._agent = CommandAgent(command.words, world, command.timeout_seconds)
        self._said = 0
        self._poisoned = False
        self._words: list[str] = []
        self._messages: list[PlayedMessage] = []
        self._stuck = False
        self._hung = False
        self._over = False
        self._before = 0

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
            self._api.picture(),
            self._api.requests,
            self._stuck,
            self._hung,
            bool(self._effects.ledger),
            self._agent.ended,
            tuple(self._messages),
        )

    def _verdict(self) -> Verdict:
        self._api.effects = self._effects if self._effects.ledger else None
        verdict = self._api.verdict()
        tolerated = self._setup.tolerated
        kept = [one for one in verdict.defects if one.kind not in tolerated]
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
        # An agent that first ends the turn of its dead predecessor needs a reply for that.
        more = f"This is one more reply, to message {self._said}."
        api.answers_now(*calls, reply, more)
        self._before = len(api.requests)
        prompt = f"Do it. ({self._said})" + (f" {POISON}" if message.refused else "")
        self._agent.dies_at = message.dies
        self._agent.say(prompt)
        if self._agent.died:
            self._words.append("(it died; it is started again for the next message)")
        elif self._agent.failed:
            self._words.append(f"(it {self._agent.ended})")
        self._hung = self._agent.overdue and message.plain
        self._messages.append(self._played(prompt))

    def _played(self, prompt: str) -> PlayedMessage:
        """The message as it was played."""
        simulator = self._api.simulator
        after = self._api.requests[self._before :]
        last = after[-1].number if after else None
        answer = ""
        for one in itertools.chain.from_iterable(observe(simulator)):
            if one.number == last and not one.failed:
                answer = one.reply_text
        unmet = any(fired == 0 for _, fired in simulator.unmet_faults)
        well = not self._agent.failed
        return PlayedMessage(prompt, answer, well, after, unmet)


def _in_words(message: TroubledMessage) -> str:
    words = "say something"
    words += " that is refused" if message.refused else ""
    words += f"; its requests meet: {message.fault}" if message.fault else ""
    return words + (f"; its process dies at: {message.dies}" if message.dies else "")
