"""The fuzzer: some scripts of each kind hold, and what is planted is found and made short.

`make fuzz` plays ten thousand.
"""

from collections.abc import Callable
from pathlib import Path

import anyio
import attrs
import pytest
from tests import warm
from tests.gauntlet.fuzz import Finding, fuzzed, main, scripts, shrunk, tried
from tests.gauntlet.fuzz_play import FuzzPlayer
from tests.gauntlet.fuzz_script import Move, Play, Verb, lasting
from tests.gauntlet.fuzz_world import Wrap

from turnlatch.ports import Delta, Model, RequestFailedError, TextDelta
from turnlatch.simulator import parse_faults
from turnlatch.simulator.faults import KINDS
from turnlatch_states.api.faults import Fault
from turnlatch_states.api.json_bytes import encode, text_block
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

SCRIPTS = 50
"""How many are played in every run of the tests."""

FOUND = (
    # A journal of server threads could not be read again.
    "seed=2604 threads=on / send birch, send amber / ",
    # A fork went back to the settings that its parent was opened with.
    "seed=2770 / threads auto, branch delta / ",
    # What was refused stood in the calls of the turn that went on.
    "seed=1133 model=claude-sonnet-5 / stream harbor /"
    " 422 message=No. forever body=harbor at t=8",
    # A server that refused every count was taken for a witness.
    "seed=9572 / send pebble / 413 forever on count_tokens,"
    ' 400 message="Output blocked by content filtering policy" forever body=pebble'
    " at t=17",
    # And one that refused it for another reason.
    "seed=4758 threads=auto cache=1h /"
    " send pebble, model claude-fable-5, send fjord, image north /"
    " 400 message=No. @6+ body=fjord, limit images_max=2",
    # What needs a beta name was sent although the name was left out.
    "seed=3405 threads=on / stream lantern / 400 message="
    '"Unexpected value(s) `message-threads-2026-08-12` for the `anthropic-beta` header."'
    " @2",
    "seed=3568 threads=on / stream fjord, send ember, stream juniper, compact / 400 message="
    '"Unexpected value(s) `compact-2026-09-04` for the `anthropic-beta` header."'
    " times 2 on stream",
    # The control over bound thinking went to a model that does not know it.
    "seed=3417 cache=off / stream island, model claude-haiku-4-5 /"
    " limit image_base64_bytes_max=64",
    # A summary in the middle of a turn, with a pin behind it.
    "seed=1514 cache=off moody=1 /"
    " pin meadow, send juniper, send fjord, send island, retry /"
    " empty 200 @2, html 413 @8",
    # The turn that went on was longer than the window by itself.
    "seed=4492 / long north / limit context_window=1500 @2",
    # What was searched for was refused for a second reason, which has a name.
    "seed=441 / send grove, send north /"
    " 400 message=No. forever body=north at t=20, limit cache_markers_max=0 @7",
    "seed=6170 / send meadow, send kettle /"
    " limit cache_markers_max=1 on count_tokens, 422 message=No. @4+ body=meadow",
    # A summary that could not be had, and was not to be asked for again, was the end.
    "seed=6219 / halt kettle 1, long cedar, send ember, long lantern /"
    " limit context_window=5000, 503 x-should-retry=false times 8 on compaction",
    # Of two questions one was over, and was denied when the other was answered.
    "seed=7142 threads=auto tools=settle+soon+lag+slip+deaf /"
    " send meadow, wait 301, approve / ",
    # The server failed for ever at what was said, in the past and in an open turn.
    "seed=5320 threads=on cache=1h moody=1 / send orchard /"
    " 500 forever body=orchard at t=3",
    "seed=9932 / send harbor / 503 x-should-retry=false forever body=harbor at t=6",
    "seed=8732 model=claude-opus-4-6 threads=on moody=1 / long grove, stream north /"
    " 502 @9+ body=north, 400 code=thread_not_found forever on thread",
)
"""Scripts that broke a promise once, as short as they were made."""


@pytest.mark.parametrize("start", range(0, SCRIPTS, 25))
def test_scripts_hold(start: int) -> None:
    drawn = list(scripts(0, start + 25))[start:]
    found = anyio.run(fuzzed, drawn)
    assert not found, "\n".join(f"{one.told}\n  {one.command}" for one in found)


@pytest.mark.parametrize("script", FOUND)
def test_scripts_that_found_a_bug_pass(script: str) -> None:
    found = anyio.run(tried, Play.parse(script))
    assert found is None, found.told


# What is drawn.

DRAWN = list(scripts(1, 600))


def test_every_kind_of_move_fault_and_time_is_drawn() -> None:
    faults = [fault for play in DRAWN for fault in play.faults]
    whens = [fault.when for fault in faults]

    assert {move.verb for play in DRAWN for move in play.moves} == set(Verb)
    assert len({type(fault.action) for fault in faults}) == 12
    assert {when.kind for when in whens} >= set(KINDS) - {"models"}
    assert max(len(play.faults) for play in DRAWN) == 8
    for given in ("requests", "every", "times", "forever", "body", "until_seconds"):
        assert any(getattr(when, given) for when in whens), given
    assert any(lasting(fault) for fault in faults)
    assert {play.setting.store for play in DRAWN} == {"memory", "sqlite"}


def test_a_script_is_its_text() -> None:
    for play in DRAWN:
        assert Play.parse(str(play)) == play


def test_a_seed_gives_the_same_scripts_and_a_script_the_same_requests() -> None:
    assert list(scripts(1, 20)) == DRAWN[:20]
    steady = [
        one for one in DRAWN if not {"lag", "deaf"} & {*one.setting.tools.split("+")}
    ]
    for play in steady[:8]:  # the others have tools that are let go after a millisecond
        assert anyio.run(_requests, play) == anyio.run(_requests, play)


async def _requests(play: Play) -> list[tuple[bytes, int]]:
    async with anyio.TemporaryDirectory() as folder:
        player = FuzzPlayer(play, Path(folder))
        await player.run()
    return [(one.raw, one.status) for one in player.world.simulator.log]


def test_lasting_faults_are_bound_and_others_get_an_end() -> None:
    (bound,) = parse_faults('400 message="No." body=amber forever')
    (free,) = parse_faults('400 message="No." forever')
    (credit,) = parse_faults('400 message="credit balance" body=amber forever')
    (limit,) = parse_faults("limit images_max=2 @3")
    (fails,) = parse_faults("503 body=amber forever")
    (outage,) = parse_faults("503 forever")
    (busy,) = parse_faults("429 body=amber forever")

    assert lasting(bound)
    assert lasting(limit)
    assert not lasting(free)
    assert not lasting(credit)
    assert lasting(fails)
    assert not lasting(outage)
    assert not lasting(busy), "that is to be waited for, whoever says so"


# What is planted.


class Port:
    """A port that hands everything on."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        return await self.inner.send(request, report)

    async def count(self, request: Request) -> int:
        return await self.inner.count(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


class Gullible(Port):
    """Planted: what came of a reply that was cut is taken for the reply."""

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        said: list[str] = []

        def listen(delta: Delta) -> None:
            if isinstance(delta, TextDelta):
                said.append(delta.text)
            report(delta)

        try:
            return await self.inner.send(request, listen)
        except RequestFailedError:
            if not said:
                raise
        facts = {
            "id": "msg_cut",
            "role": "assistant",
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        return Reply(text_block("".join(said)), encode(facts))


class Forgetful(Port):
    """Planted: a request that failed is sent again without its first result."""

    failed = False

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        if self.failed:
            body = request.body.replace(b'{"type":"tool_result"', b'{"type":"told"', 1)
            request = attrs.evolve(request, body=body)
        self.failed = True
        reply = await self.inner.send(request, report)
        self.failed = False
        return reply


class Sulking(Port):
    """Planted: after one passing fault nothing ever comes again."""

    fault: Fault | None = None

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        if self.fault is not None:
            raise RequestFailedError(self.fault)
        try:
            return await self.inner.send(request, report)
        except RequestFailedError as error:
            if error.fault.kind == "transient":
                self.fault = error.fault
            raise


async def first_found(wrap: Wrap) -> Finding:
    """The first script that the planted bug breaks, made short."""
    for play in scripts(0, 60):
        found = await tried(play, wrap)
        if found is not None:
            return await shrunk(found, wrap)
    raise AssertionError("it was not found")


@pytest.mark.parametrize(
    ("bug", "says"),
    [
        (Gullible, "only whole replies are history"),
        (Forgetful, "that was known to be illegal"),
        (Sulking, "the next message is confirmed"),
    ],
)
def test_a_planted_bug_is_found_and_made_short(bug: Wrap, says: str) -> None:
    found = anyio.run(first_found, bug)

    assert says in found.what
    assert len(found.play.faults) <= 2
    assert len(found.play.moves) <= 5
    again = anyio.run(tried, Play.parse(str(found.play)), bug)
    assert again is not None
    assert again.what == found.what
    assert anyio.run(tried, found.play) is None, "without the bug it holds"


def test_an_effect_that_comes_twice_is_found(tmp_path: Path) -> None:
    player = FuzzPlayer(Play(moves=(Move(Verb.SEND, "amber"),) * 3), tmp_path)

    class Twice(Port):
        """Planted: whatever was done is done again with the next request."""

        async def send(
            self, request: Request, report: Callable[[Delta], None]
        ) -> Reply:
            ledger = player.world.ledger
            ledger.update(dict.fromkeys(ledger, 1))
            return await self.inner.send(request, report)

    player = FuzzPlayer(player.play, tmp_path, Twice)
    with pytest.raises(AssertionError, match="a call is carried out once"):
        anyio.run(player.run)


def test_the_command_plays_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    done = warm.run(
        ["-m", "tests.gauntlet.fuzz", "--scripts", "2"],
        cwd=Path(__file__).parents[2],
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(b"2 of 2 scripts held")
    with pytest.raises(SystemExit) as left:
        main(["--script", "seed=1 / send amber / 529 @1"])
    assert left.value.code == 0
    assert "It held." in capsys.readouterr().out
