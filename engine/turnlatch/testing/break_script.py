"""The scripts of `turnlatch break`: what goes wrong with each message to a command.

    meets 529 @2; say; dies at request 1

A text that is printed, and read again to play the same.
"""

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias, final

import attrs

from turnlatch.errors import SettingsError
from turnlatch.simulator import parse_faults

_POINT: Final = re.compile(r"(?:request|reply) [1-9][0-9]?|effect (?:begun|done)")
_MESSAGES: Final = re.compile(r'(?:"[^"]*"|[^;"])+')
_PARTS: Final = re.compile(r" and (?=meets |dies at |is refused)")
_HOW: Final = (
    "write say, is refused, meets FAULT, dies at POINT, joined by `and`, and `;` between"
    " messages; a POINT is request N, reply N, effect begun or effect done"
)
_REQUESTS_MAX: Final = 3
"""The requests of a message at which its process is killed."""


@final
@attrs.frozen
class TroubledMessage:
    """A message to the agent, and what goes wrong meanwhile.

    Attributes:
        fault: The text of the faults that its requests meet; `@1` is the first request.
        dies: The point at which its process is killed: `request N` has arrived, `reply N`
            has been sent, `effect begun`, `effect done`.
        refused: The service refuses it, and whatever holds it.
    """

    fault: str = ""
    dies: str = ""
    refused: bool = False

    def __str__(self) -> str:
        parts = ["is refused"] if self.refused else []
        parts += [f"meets {self.fault}"] if self.fault else []
        parts += [f"dies at {self.dies}"] if self.dies else []
        return " and ".join(parts) or "say"

    @property
    def plain(self) -> bool:
        """True if nothing goes wrong."""
        return self == TroubledMessage()

    def simpler(self) -> Iterator["TroubledMessage"]:
        """The message with one trouble less."""
        if self.fault:
            yield attrs.evolve(self, fault="")
        if self.dies:
            yield attrs.evolve(self, dies="")
        if self.refused:
            yield attrs.evolve(self, refused=False)


BreakScript: TypeAlias = tuple[TroubledMessage, ...]


def written(script: BreakScript) -> str:
    """The text of a script."""
    return "; ".join(map(str, script))


def read_break_script(text: str) -> BreakScript:
    """Read the text of a script.

    Raises:
        SettingsError: It is not one.
        FaultScriptError: A fault of it cannot be read.
    """
    found = [_message(one.strip()) for one in _MESSAGES.findall(text) if one.strip()]
    if not found:
        raise SettingsError("script", "it has no message", _HOW)
    return tuple(found)


def _message(text: str) -> TroubledMessage:
    message = TroubledMessage()
    for part in () if text == "say" else _PARTS.split(text):
        if part == "is refused":
            message = attrs.evolve(message, refused=True)
        elif part.startswith("meets "):
            parse_faults(fault := part.removeprefix("meets "))
            message = attrs.evolve(message, fault=fault)
        elif _POINT.fullmatch(point := part.removeprefix("dies at ")):
            message = attrs.evolve(message, dies=point)
        else:
            raise SettingsError("script", f"{part!r} is not known", _HOW)
    return message


def single_troubles(
    faults: Sequence[str], requests: int, *, effects: bool
) -> tuple[TroubledMessage, ...]:
    """Each thing that can go wrong with one message; those that take long come last.

    Args:
        faults: The faults.
        requests: How many requests an untroubled message takes.
        effects: True if the agent's tools keep a ledger.
    """
    numbers = range(1, min(requests, _REQUESTS_MAX) + 1)
    found = [TroubledMessage(refused=True)]
    found += [TroubledMessage(dies=f"request {one}") for one in numbers]
    found += [TroubledMessage(dies=f"reply {one}") for one in numbers]
    if effects:
        found += [TroubledMessage(dies=f"effect {one}") for one in ("begun", "done")]
    met = list(faults)
    if requests > 1:
        met += [f"{one} @2" for one in faults if "@" not in one]
    met.sort(key=lambda one: ("stall" in one, "-" in one))
    return (*found, *(TroubledMessage(fault=one) for one in met))


def combinations(
    troubles: Sequence[TroubledMessage], seed: int
) -> Iterator[BreakScript]:
    """Scripts of two to four messages by chance, without an end."""
    rng = random.Random(seed)
    faults = [one for one in troubles if one.fault]
    deaths = [one for one in troubles if one.dies]
    for _ in itertools.count():
        script: list[TroubledMessage] = []
        for _ in range(rng.randint(2, 4)):
            message = rng.choice([TroubledMessage(), *troubles])
            if faults and deaths and rng.random() < 0.25:
                dies = rng.choice(deaths).dies
                message = attrs.evolve(rng.choice(faults), dies=dies)
            script.append(message)
        yield tuple(script)


def shorter(script: BreakScript) -> Iterator[BreakScript]:
    """The script with one message less, or one trouble less."""
    if len(script) > 1:
        for place in range(len(script)):
            yield script[:place] + script[place + 1 :]
    for place, message in enumerate(script):
        for simple in message.simpler():
            yield (*script[:place], simple, *script[place + 1 :])
