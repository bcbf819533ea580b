"""The scenario catches what it says it catches: for every question a planted bug.

Each test hands `finish` a conversation, or a world, in which one thing is wrong and
everything else is right, and looks that this one thing is what it stumbles over.
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from tests import warm
from tests.harness.processes import ROOT, Children, child_processes, kill_at
from tests.harness.recorder import cut_request
from tests.harness.scenario import CONFIRMED, Scenario, asyncio_only

from turnlatch import Conversation, Fault, FaultKind, Turn, tool
from turnlatch.ports import Delta
from turnlatch.sdk import SdkModel
from turnlatch.simulator import call, refuse, reply
from turnlatch_states.api.reply import Reply
from turnlatch_states.request.build import Request

pytestmark = pytest.mark.anyio

GOOD: dict[str, Any] = {"ended": CONFIRMED, "effects": {"act a": 1}, "budget": 3}
"""What is true of `begun`."""


def good(**wrong: Any) -> dict[str, Any]:
    """What is true of `begun`, with something wrong in it."""
    return {**GOOD, **wrong}


@pytest.fixture
def plain(tmp_path: Path) -> Scenario:
    """A scenario that need not be finished."""
    return Scenario(tmp_path)


@pytest.fixture
def begun(plain: Scenario) -> Scenario:
    """A scenario with one passing fault and one call."""
    plain.script(call("act", what="a"), "Done.", faults="429 retry-after=2 @2")
    return plain


async def stumbles(
    scenario: Scenario, says: str, *, chat: Any = None, **wrong: Any
) -> None:
    """One turn, then `finish` with one thing wrong."""
    async with chat or scenario.open() as opened:
        await opened.send("Go")
        with pytest.raises(AssertionError, match=says):
            await scenario.finish(opened, **good(**wrong))
    assert not scenario.finished


async def test_a_good_scenario_finishes(scenario: Scenario) -> None:
    scenario.script(call("act", what="a"), "Done.", faults="429 retry-after=2 @2")
    async with scenario.open() as chat:
        await chat.send("Go")
        after = await scenario.finish(chat, **good())
    assert after.state is CONFIRMED


UNFINISHED = """
import pytest
from tests.gauntlet.conftest import *

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_forgets(scenario):
    async with scenario.open() as chat:
        await chat.send("Go")
"""


def test_a_scenario_that_does_not_finish_is_failed(tmp_path: Path) -> None:
    (tmp_path / "test_unfinished.py").write_text(UNFINISHED, encoding="utf-8")
    options = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = warm.run(["-m", "pytest", *options, str(tmp_path)], cwd=ROOT, timeout=600)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert b"the scenario never called `scenario.finish`" in done.stdout


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ended": FaultKind.TRANSIENT}, "did not end as it should"),
        ({"ended": None}, "did not end as it should"),
        ({"effects": {}}, "effects are not as told"),
        ({"effects": {"act a": 2}}, "effects are not as told"),
        ({"budget": 2}, "3 requests were sent, 2 are allowed"),
        ({"history": [1]}, "not what was confirmed"),
        ({"history": [1, 2]}, r"brought no whole reply: \[2\]"),
        ({"unheard": [3]}, "not what was confirmed"),
        ({"illegal": 1}, r"\[\]"),
        ({"patience": 0}, "cost more than it may"),
    ],
)
async def test_a_wrong_claim_is_caught(
    begun: Scenario, wrong: dict[str, Any], says: str
) -> None:
    await stumbles(begun, says, **wrong)


async def test_a_turn_that_failed_is_not_taken_for_a_good_one(plain: Scenario) -> None:
    plain.script(call("act", what="a"), faults="401 @2")
    await stumbles(plain, "did not end as it should")


async def test_a_stuck_conversation_is_caught(plain: Scenario) -> None:
    plain.script(call("act", what="a"), "Done.", faults='400 message="No." @3+')
    await stumbles(plain, "the conversation is stuck")


async def test_an_effect_that_comes_twice_is_caught(begun: Scenario) -> None:
    @tool
    async def act(what: str) -> str:
        """Act, and act again."""
        begun.note(f"act {what}")
        begun.note(f"act {what}")
        return "did it"

    await stumbles(begun, "effects are not as told", chat=begun.open(tools=[act]))


async def test_an_effect_that_comes_with_the_next_message_is_caught(
    plain: Scenario,
) -> None:
    plain.script(call("act", what="a"), "Done.", call("act", what="late"))
    await stumbles(plain, "cost more than it may|effects are not as told")


async def test_an_illegal_request_is_caught(begun: Scenario) -> None:
    """Somebody sends a blank message past the engine."""
    messages: Any = [{"role": "user", "content": " "}]
    async with begun.open() as chat:
        await chat.send("Go")
        with pytest.raises(Exception, match="non-whitespace"):
            await begun.client().messages.create(
                model="claude-sonnet-5-5", max_tokens=9, messages=messages
            )
        with pytest.raises(AssertionError, match="invalid_request_error"):
            await begun.finish(chat, **good(budget=4))


class Tampering:
    """Planted: a port that hands on something else than what came."""

    def __init__(self, scenario: Scenario, how: Callable[[Reply], Reply]) -> None:
        self.inner = SdkModel(scenario.client())
        self.how = how

    async def send(self, request: Request, report: Callable[[Delta], None]) -> Reply:
        return self.how(await self.inner.send(request, report))

    async def count(self, request: Request) -> int:
        return await self.inner.count(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


def reworded(given: Reply) -> Reply:
    return Reply(given.content.replace(b"Done.", b"Dona."), given.meta)


def printed_again(given: Reply) -> Reply:
    spaced = json.dumps(list(given.blocks))[1:-1].encode()
    return Reply(spaced, given.meta)


def renamed(given: Reply) -> Reply:
    meta = json.loads(given.meta)
    return Reply(given.content, json.dumps({**meta, "id": "msg_mine"}).encode())


@pytest.mark.parametrize(
    ("how", "stream", "says"),
    [
        (reworded, False, "the reply is not what came"),
        (reworded, True, "a block is not what came"),
        (printed_again, False, "the reply is not what came"),
        (renamed, False, "not what was confirmed"),
        (renamed, True, "not what was confirmed"),
    ],
)
async def test_reply_stored_with_other_bytes_is_caught(
    plain: Scenario, how: Callable[[Reply], Reply], stream: bool, says: str
) -> None:
    plain.script("Done.")
    async with plain.open(client=Tampering(plain, how)) as chat:
        await (chat.stream("Go").turn() if stream else chat.send("Go"))
        with pytest.raises(AssertionError, match=says):
            await plain.finish(chat, ended=CONFIRMED, effects={}, budget=1)


EXTRA = b'{"role":"user","content":[{"type":"text","text":"Extra."}]},'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"Done.", b"Dona.", "other bytes were sent"),
        (b'"messages":[', b'"messages":[' + EXTRA, "more was sent"),
    ],
)
async def test_a_request_that_says_something_else_than_is_stored_is_caught(
    plain: Scenario, old: bytes, new: bytes, says: str
) -> None:
    """Planted: a port that changes what leaves; what is stored is untouched."""

    class Rewriting(Tampering):
        async def send(
            self, request: Request, report: Callable[[Delta], None]
        ) -> Reply:
            body = request.body.replace(old, new)
            return await self.inner.send(attrs.evolve(request, body=body), report)

    plain.script("Done.")
    async with plain.open(client=Rewriting(plain, reworded)) as chat:
        await chat.send("Go")
        with pytest.raises(AssertionError, match=says):
            await plain.finish(chat, ended=CONFIRMED, effects={}, budget=1)


def plant(chat: Conversation, **changes: Any) -> None:
    """Change what is in memory and not on the disk."""
    driver: Any = chat._driver  # pyright: ignore[reportPrivateUsage]
    kept = driver._kept
    driver._kept = attrs.evolve(kept, snapshot=attrs.evolve(kept.snapshot, **changes))


def forgets_the_last_reply(chat: Conversation) -> None:
    plant(chat, history=chat.history.until(len(chat.history) - 1))


def has_another_prompt(chat: Conversation) -> None:
    settings = (*chat.profile.settings, ("system", b'"Be brief."'))
    plant(chat, profile=attrs.evolve(chat.profile, settings=settings))


def has_failed(chat: Conversation) -> None:
    turn = chat.snapshot.turn
    assert turn is not None
    planted = Fault(FaultKind.LOCAL, "Planted.")
    plant(chat, turn=attrs.evolve(turn, substate="resting", fault=planted))


@pytest.mark.parametrize(
    ("bug", "ended", "says"),
    [
        (forgets_the_last_reply, CONFIRMED, "not what was confirmed"),
        (has_another_prompt, CONFIRMED, "a reload gives another conversation"),
        (has_failed, FaultKind.LOCAL, "a reload gives another state"),
    ],
)
async def test_memory_that_is_not_what_the_file_says_is_caught(
    begun: Scenario, bug: Callable[[Conversation], None], ended: Any, says: str
) -> None:
    async with begun.open() as chat:
        await chat.send("Go")
        bug(chat)
        with pytest.raises(AssertionError, match=says):
            await begun.finish(chat, **good(ended=ended))


@pytest.mark.parametrize("which", [0, 1])
async def test_a_file_that_forgot_a_confirmed_turn_is_caught(
    begun: Scenario, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the next process finds the file as it was a turn ago."""
    async with begun.open() as chat:
        await chat.send("Go")
        early, real, calls = begun.copied("early"), begun.again, iter(range(9))
        await chat.send("Go on")

        def again(name: str, store: Path) -> Conversation:
            return real(name, early if next(calls) == which else store)

        monkeypatch.setattr(begun, "again", again)
        with pytest.raises(AssertionError, match="not what was confirmed"):
            await begun.finish(chat, **good(budget=4))


async def test_a_reload_that_sends_other_bytes_is_caught(
    begun: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the next process says the same in other words."""
    real = begun.again

    def again(name: str, store: Path) -> Conversation:
        opened = real(name, store)
        said = opened.send

        def send(text: str) -> Awaitable[Turn]:
            return said(text + " ")

        monkeypatch.setattr(opened, "send", send)
        return opened

    monkeypatch.setattr(begun, "again", again)
    await stumbles(begun, "a reload sends other bytes")


async def test_an_effect_that_comes_with_a_reload_is_caught(
    begun: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the next process does again what was done."""
    real = begun.again

    def again(name: str, store: Path) -> Conversation:
        begun.note("act a")
        return real(name, store)

    monkeypatch.setattr(begun, "again", again)
    await stumbles(begun, "the effects are not as told")


@pytest.mark.parametrize(
    ("told", "says"), [(None, "other bytes were sent"), (1, "not the summary in force")]
)
async def test_summary_other_than_the_claimed_one_is_caught(
    plain: Scenario, told: int | None, says: str
) -> None:
    plain.script("One.", "Two.")
    async with plain.open() as chat:
        await chat.send("1")
        await chat.compact()
        await chat.send("2")
        with pytest.raises(AssertionError, match=says):
            await plain.finish(
                chat, ended=CONFIRMED, effects={}, budget=3, summary=told
            )


async def test_the_clerk_reads_streams_and_plain_replies_alike(
    scenario: Scenario,
) -> None:
    scenario.script(
        "Cut off before it ends.",
        reply("Well.", call("act", what="ä"), call("look", path="b")),
        refuse("cyber", "No."),
        "Done.",
        faults="cut 5 eof @1",
    )
    async with scenario.open() as chat:
        await chat.stream("Go").turn()
        await chat.send("Go")
        found = scenario.confirmed()
        assert [one.raw is None for one in found] == [True, False]
        assert [one.blocks[0]["type"] for one in found] == ["text", "text"]
        await scenario.finish(
            chat,
            ended=CONFIRMED,
            effects={"act ä": 1, "look b": 1},
            budget=4,
        )


def test_a_request_is_cut_into_what_was_before_and_what_is_new() -> None:
    one = b'{"role": "user", "content": [ {"type":"text","text":"\\u00e4 ]"} ]}'
    two = b'{"content":[{"a":[1,{}]}],"role":"assistant"}'
    body = b'{"model":"m", "messages":[ %b , %b,%b ],"x":[]}'

    assert cut_request(body % (one, two, one)) == (
        one + b" , " + two,
        b' {"type":"text","text":"\\u00e4 ]"} ',
    )
    assert cut_request(b'{"messages":[%b]}' % one)[0] == b""
    assert cut_request(b'{"messages":[%b,%b]}' % (one, two)) == (one + b"," + two, b"")


@asyncio_only
async def test_a_killed_child_leaves_its_requests_and_its_effects_on_record(
    scenario: Scenario,
) -> None:
    scenario.script(call("act", what="a"), "Done.")
    kill_at(scenario, "after act", "first")
    assert len(scenario.requests) == 1
    async with scenario.open() as chat:
        turn = await chat.retry()
        assert turn.state is CONFIRMED
        await scenario.finish(chat, ended=CONFIRMED, effects={"act a": 1}, budget=2)


async def test_child_that_never_reaches_its_point_is_reported(plain: Scenario) -> None:
    plain.script("Done.")

    def run() -> None:
        with child_processes(plain) as children:
            assert isinstance(children, Children)
            children.start("before CompactionSent", "first").until("now")

    with pytest.raises(AssertionError, match="ended without saying 'now'"):
        await anyio.to_thread.run_sync(run)
