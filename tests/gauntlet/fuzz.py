"""The fuzzer: `python -m tests.gauntlet.fuzz --seed N --scripts K [--script "…"]`.

From a seed it draws scripts, each of up to eight faults and several moves (see
`fuzz_script`, `fuzz_draw`), plays them on the real SDK and the strict simulator, and asks after every
one what `fuzz_play` says must hold. A script that fails is made as short as it gets, and
printed as the command that plays it again. The exit status is 1 if one failed.
"""

import random
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, final

import anyio
import attrs
import click
from tests.gauntlet.fuzz_draw import draw
from tests.gauntlet.fuzz_play import FuzzPlayer
from tests.gauntlet.fuzz_script import (
    CUTS_SHORT,
    SAYS,
    Move,
    Play,
    Setting,
    Verb,
)
from tests.gauntlet.fuzz_truth import BrokenPromiseError
from tests.gauntlet.fuzz_world import Wrap

from turnlatch.simulator import ScriptedFault, Status, When

COMMAND: Final = "python -m tests.gauntlet.fuzz"


@final
@attrs.frozen
class Finding:
    """A script that broke a promise.

    Attributes:
        play: The script.
        what: Which promise, in a few words.
        told: What was found, in full.
    """

    play: Play
    what: str
    told: str

    @property
    def command(self) -> str:
        """The command that plays it again."""
        return f"{COMMAND} --script {shlex.quote(str(self.play))}"


async def tried(play: Play, wrap: Wrap | None = None) -> Finding | None:
    """Play a script; what it broke, or None."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            await FuzzPlayer(play, Path(folder), wrap).run()
        except BrokenPromiseError as error:
            return Finding(play, error.what, str(error))
        except Exception as error:  # noqa: BLE001 - whatever is raised is a finding
            said = f"{type(error).__name__}: {error}"
            return Finding(play, f"nothing raises {type(error).__name__}", said)
    return None


def scripts(seed: int, count: int) -> Iterator[Play]:
    """The scripts of a seed; each depends on the seed and its number alone."""
    for number in range(count):
        yield draw(random.Random(f"{seed}:{number}"))


# Making a script short.


async def shrunk(found: Finding, wrap: Wrap | None = None) -> Finding:
    """The shortest script that breaks the same promise, as far as can be seen.

    Faults are dropped one by one, then moves, then what is left is made plainer; again
    and again, until nothing more can be taken away.
    """
    while True:
        for shorter in _shorter(found.play):
            again = await tried(shorter, wrap)
            if again is not None and again.what == found.what:
                found = again
                break
        else:
            return found


def _shorter(play: Play) -> Iterator[Play]:
    """The same script with less to it, each time one thing less."""
    faults, moves = play.faults, play.moves
    if len(faults) > 2:
        half = len(faults) // 2
        yield attrs.evolve(play, faults=faults[:half])
        yield attrs.evolve(play, faults=faults[half:])
    for at in range(len(faults)):
        yield attrs.evolve(play, faults=(*faults[:at], *faults[at + 1 :]))
    for at in reversed(range(len(moves))):
        yield attrs.evolve(play, moves=(*moves[:at], *moves[at + 1 :]))
    usual = Setting()
    for name in ("store", "model", "threads", "cache", "moody", "attempts", "off"):
        if getattr(play.setting, name) != getattr(usual, name):
            plain = attrs.evolve(play.setting, **{name: getattr(usual, name)})
            yield attrs.evolve(play, setting=plain)
    tools = play.setting.tools.split("+")
    for at in range(len(tools) if tools != [""] else 0):
        fewer = "+".join((*tools[:at], *tools[at + 1 :]))
        yield attrs.evolve(play, setting=attrs.evolve(play.setting, tools=fewer))
    for at, fault in enumerate(faults):
        for plainer in _plainer(fault):
            yield attrs.evolve(play, faults=(*faults[:at], plainer, *faults[at + 1 :]))
    for at, move in enumerate(moves):
        options: list[Move] = []
        if move.verb in SAYS - {Verb.SEND, Verb.STREAM, Verb.STEER}:
            options.append(Move(Verb.SEND, move.word))
        if move.verb is Verb.STEER and move.at:
            options.append(attrs.evolve(move, at=0))
        if move.verb in (*CUTS_SHORT, Verb.STEER) and move.at > 1:
            options += [attrs.evolve(move, at=1), attrs.evolve(move, at=move.at - 1)]
        for other in options:
            yield attrs.evolve(play, moves=(*moves[:at], other, *moves[at + 1 :]))


def _plainer(fault: ScriptedFault) -> Iterator[ScriptedFault]:
    """The same fault with less to it, each time one thing less."""
    when = fault.when
    given = attrs.asdict(when, recurse=False)
    for name, usual in attrs.asdict(When(), recurse=False).items():
        if given[name] != usual:
            yield attrs.evolve(fault, when=attrs.evolve(when, **{name: usual}))
    if len(when.requests) > 1:
        yield attrs.evolve(fault, when=attrs.evolve(when, requests=when.requests[:1]))
    if isinstance(fault.action, Status) and fault.action.headers:
        yield attrs.evolve(fault, action=attrs.evolve(fault.action, headers=()))


# The command.


async def fuzzed(
    plays: Iterable[Play], report: Callable[[Finding], None] = lambda _: None
) -> list[Finding]:
    """Play scripts; the shortest form of each that broke something."""
    found: list[Finding] = []
    for play in plays:
        finding = await tried(play)
        if finding is not None:
            found.append(await shrunk(finding))
            report(found[-1])
    return found


def _tell(finding: Finding) -> None:
    faults, moves = len(finding.play.faults), len(finding.play.moves)
    click.echo(f"\n{finding.told}\n  {faults} fault(s), {moves} move(s); again with")
    click.echo(f"  {finding.command}\n")


@click.command()
@click.option("--seed", default=0, help="Of the scripts.")
@click.option("--scripts", "count", default=100, help="How many.")
@click.option("--script", help="Play this one alone.")
def main(seed: int, count: int, script: str | None) -> None:
    """Draw scripts of faults and moves, play them, and tell which break a promise."""
    began = time.monotonic()
    if script is not None:
        one = anyio.run(tried, Play.parse(script))
        click.echo("It held." if one is None else one.told)
        sys.exit(0 if one is None else 1)
    found = anyio.run(fuzzed, scripts(seed, count), _tell)
    took = time.monotonic() - began
    click.echo(f"{count - len(found)} of {count} scripts held, in {took:.0f} s")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(prog_name=COMMAND)
