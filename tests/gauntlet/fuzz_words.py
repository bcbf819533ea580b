"""What was steered in a script, and where each of it is.

Each word was said once, so it is in the confirmed history once, in order; or it waits
behind that; or it was given up lawfully, and then it never comes back.
"""

import json
from collections.abc import Iterable
from typing import Final, Self, final

from tests.gauntlet.fuzz_script import Verb
from tests.gauntlet.fuzz_truth import hold

from turnlatch import Conversation
from turnlatch_states.api.faults import STOPPED
from turnlatch_states.machine.snapshot import Snapshot

OPENING: Final = "Also, about "

_GIVES_UP: Final = frozenset(
    {
        *(Verb.SEND, Verb.STREAM, Verb.LONG, Verb.IMAGE, Verb.COMPACT, Verb.BRANCH),
        *(Verb.STOP, Verb.HALT, Verb.CANCEL, Verb.CRASH, Verb.FORK),
    }
)
"""The verbs that say something new, and so give up a turn that failed."""


@final
class Words:
    """What was steered, in the order it was said.

    Attributes:
        broken: What was seen while it was said and must not be.
    """

    def __init__(self) -> None:
        self.broken: list[str] = []
        self._said: list[str] = []
        self._gone: frozenset[str] = frozenset()
        self._lawful: frozenset[str] = frozenset()

    def copy(self) -> Self:
        """What was said so far, for a conversation that goes its own way."""
        made = type(self)()
        made._said, made._gone, made._lawful = [*self._said], self._gone, self._lawful
        return made

    async def say(self, chat: Conversation, word: str, *, running: bool) -> None:
        """Say something, twice with one key: that counts as once."""
        text = f"{OPENING}{word} ({len(self._said) + 1})."
        self._said.append(text)
        for _ in range(2):
            found = await chat.steer(text, key=text)
            if found is not running:
                self.broken.append(f"steer says {found} of a turn that runs: {running}")

    async def say_again(self, chat: Conversation) -> None:
        """Say the last of it again with its key: nothing is said."""
        if self._said:
            before = chat.snapshot
            await chat.steer(self._said[-1], key=self._said[-1])
            hold(chat.snapshot == before, "what was said with a key is said once")

    def expect(self, verb: Verb, before: Snapshot) -> None:
        """Note what the next move may give up, standing where it does."""
        turn = before.turn
        lawful: list[str] = []
        if turn is not None and turn.taken:
            fault = turn.fault
            failed = fault is not None and fault.kind not in STOPPED
            if verb is Verb.ABANDON or (failed and verb in _GIVES_UP):
                lawful += _texts(before.said[: turn.taken])
        if verb is Verb.REWIND:
            lawful += _texts(one.user for one in before.history)
        self._lawful = frozenset(lawful)

    def check(self, chat: Conversation) -> None:
        """Hold the history and the queue to what was said."""
        hold(not self.broken, "steer tells whether a turn runs", self.broken)
        if not self._said:
            return
        confirmed = _texts(one.user for one in chat.history)
        found = [*confirmed, *_texts(chat.snapshot.said)]
        told = f"{confirmed} and waiting {found[len(confirmed) :]} of {self._said}"
        hold(len(set(found)) == len(found), "what is said is said once", told)
        places = [self._said.index(text) for text in found]
        hold(places == sorted(places), "what is said is said in order", told)
        back = self._gone & set(found)
        hold(not back, "what was given up stays given up", back)
        lost = set(self._said) - set(found) - self._gone
        hold(lost <= self._lawful, "what is said is not lost", f"{lost}; {told}")
        self._gone |= lost

    def check_delivered(self, chat: Conversation) -> None:
        """Behind a message that was confirmed nothing waits any more."""
        left = _texts(chat.snapshot.said)
        hold(not left, "what waits goes along with the next message", left)


def _texts(blocks: Iterable[bytes]) -> list[str]:
    """What was steered among some blocks."""
    found: list[str] = []
    for wire in blocks:
        if OPENING.encode() not in wire:
            continue
        for block in json.loads(b"[" + wire + b"]"):
            text = str(block.get("text", ""))
            if block["type"] == "text" and text.startswith(OPENING):
                found.append(text)
    return found
