"""Every transcript in this folder is what the engine does now; see `tests.harness.transcript`.

`pytest tests/transcripts --rewrite` records them again: read the diff before you commit.
"""

import re
from pathlib import Path
from typing import Final

import pytest
from tests.harness.transcript import Transcript, TranscriptError, difference
from tests.harness.transcript_player import COMMANDS, Step, answers
from tests.harness.world import World

pytestmark = pytest.mark.anyio

ROOT: Final = Path(__file__).parents[2]
FILES: Final = sorted(Path(__file__).parent.glob("*.txt"))
WRITTEN: Final = {
    path: Transcript.parse(
        path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    )
    for path in FILES
}


def holds(path: Path, played: str, *, rewrite: bool) -> None:
    """Compare a file with what was played now, or record that in it."""
    written = path.read_text(encoding="utf-8")
    named = path.relative_to(ROOT).as_posix()
    if rewrite:
        path.write_text(played, encoding="utf-8")
    elif differs := difference(written, played, named):
        again = f"to record it again: pytest {named.rsplit('/', 1)[0]} --rewrite"
        pytest.fail(f"{differs}\n{again}", pytrace=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_conversation_goes_as_its_transcript_says(
    path: Path, world: World, request: pytest.FixtureRequest
) -> None:
    played = await WRITTEN[path].played(world)

    holds(path, played, rewrite=bool(request.config.getoption("rewrite")))


HELLO: Final = """# A greeting.
> model "Hello."
> open
  ConversationOpened claude-sonnet-5-5
> say Hi
  TurnOpened turn=1 "Hi"
  RequestSent turn=1 attempt=1
  wire 1: user "Hi" -> 200
  ReplyConfirmed turn=1 attempt=1 m1 end_turn "Hello."
  = confirmed.done "Hello."
"""


def test_outdated_file_fails_with_a_diff_and_the_way_to_record_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a file whose conversation goes differently now."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "hello.txt"
    path.write_text(HELLO, encoding="utf-8")
    now = HELLO.replace("-> 200", "-> 529")

    with pytest.raises(pytest.fail.Exception, match="--rewrite") as caught:
        holds(path, now, rewrite=False)
    assert '-  wire 1: user "Hi" -> 200' in str(caught.value)
    assert '+  wire 1: user "Hi" -> 529' in str(caught.value)
    holds(path, now, rewrite=True)
    assert path.read_text(encoding="utf-8") == now
    holds(path, now, rewrite=False)


async def test_true_transcript_has_no_difference(world: World) -> None:
    played = await Transcript.parse(HELLO, "hello.txt").played(world)

    assert difference(HELLO, played, "hello.txt") == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-> 200", "-> 529"),
        ('wire 1: user "Hi"', 'wire 1: user "Ho"'),
        ("  RequestSent turn=1 attempt=1\n", ""),
        ("= confirmed.done", "= failed.resting"),
        ('end_turn "Hello."\n', 'end_turn "Hello."\n  ran act a\n'),
    ],
)
async def test_wrong_line_is_a_difference(world: World, old: str, new: str) -> None:
    """Planted: one line that is not what happens."""
    planted = HELLO.replace(old, new, 1)
    assert planted != HELLO

    played = await Transcript.parse(planted, "hello.txt").played(world)

    assert played == HELLO
    assert difference(planted, played, "hello.txt").startswith("--- hello.txt\n")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("> open\n> shout Hi\n", "bad.txt:2: unknown command 'shout'; known: abandon"),
        ("# Hi\n  ran act a\n", "bad.txt:2: no command printed this line"),
        ("> open\n= confirmed\n", "bad.txt:2: a line begins with"),
        (">open\n", "bad.txt:1: a line begins with"),
    ],
)
def test_file_that_does_not_parse_is_refused_with_its_line(
    written: str, problem: str
) -> None:
    with pytest.raises(TranscriptError) as caught:
        Transcript.parse(written, "bad.txt")

    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("open colour=red", "open has no option 'colour'"),
        ("model call", "an answer is not 'call'"),
        ("say Hi", "no conversation named a is open"),
        ("finish", "nothing was begun"),
        ("on b", "no conversation named b is open"),
    ],
)
async def test_command_that_cannot_be_carried_out_is_refused_with_its_line(
    world: World, command: str, problem: str
) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await Transcript.parse(f"# Bad.\n> {command}\n", "bad.txt").played(world)

    assert caught.group_contains(TranscriptError, match=f"bad.txt:2: {problem}")


def test_answers_are_read_as_they_are_written() -> None:
    one, two = answers('"See; + so." + call act what=a ; "Done."')

    assert [type(part).__name__ for part in one.parts] == ["Text", "ClientCall"]
    assert [getattr(part, "text", "") for part in two.parts] == ["Done."]


VARYING: Final = re.compile(r"(?:toolu|msg|req)_\w+|[0-9a-f]{32}|/(?:tmp|dev|home)/")
"""Ids, hashes and paths of a machine: a transcript has short names for the first."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript_contains_nothing_that_varies(path: Path) -> None:
    assert VARYING.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    ["! NotNowError: no call 'toolu_01g7hC'", "key=512f067bf6bb48c23c216e4b110140c8"],
)
def test_planted_id_is_found(planted: str) -> None:
    assert VARYING.search(planted)


def test_every_command_is_used_by_a_transcript() -> None:
    used = {
        one.name
        for transcript in WRITTEN.values()
        for one in transcript.kept
        if isinstance(one, Step)
    }

    assert COMMANDS.keys() - used == set()
