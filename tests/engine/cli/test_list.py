"""`turnlatch list`: a table for people, an array for machines, and nothing is touched."""

import json
import os
import re
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import warm
from tests.around import append_now
from tests.engine.cli.test_chat import PROMPT, Chat, batch, environment
from tests.engine.cli.test_main import HEAVY, WATCHED, python

from turnlatch.cli.list import HEADS, ago, listed
from turnlatch.cli.terminal import Look, cells
from turnlatch.journal import SQLiteStore
from turnlatch.journal.owner import Owner
from turnlatch.ports import Listing
from turnlatch_states.machine.events import RequestSent

NOW = 1_800_000_000.0
HERE = Owner.current().host
LOOK = Look()


def turnlatch(home: Path, *args: str, **more: str) -> CompletedProcess[bytes]:
    return warm.run(
        ["-m", "turnlatch", "list", *args], env=environment(home, **more), timeout=60
    )


def told(home: Path, *args: str) -> list[dict[str, Any]]:
    done = turnlatch(home, *args, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


# As a process.


def test_conversations_are_listed_the_last_used_first(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert batch(tmp_path, "hello there\n", name).returncode == 0
    assert batch(tmp_path, "again\n", "first").returncode == 0
    store = SQLiteStore(tmp_path / "turnlatch" / "chat.db")
    (first,) = (one for one in store.conversations() if one.name == "first")
    store.fork("first", "branch", first.entries)
    store.close()

    found = told(tmp_path)
    assert [one["name"] for one in found] == ["first", "second", "branch"]
    assert [one["turns"] for one in found] == [2, 1, 2]
    assert found[2]["parent"] == "first"
    assert found[2]["used"] is None
    for one in found[:2]:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["used"])
        assert one["entries"] > one["turns"]
        assert one["holder"] is one["left"] is None
    lines = turnlatch(tmp_path).stdout.decode().splitlines()
    assert lines[0].split() == " ".join(HEADS).split()
    assert [line.split()[0] for line in lines[1:]] == ["first", "second", "branch"]
    assert lines[3].endswith("never      fork of first")


def test_list_shows_the_holder_of_a_running_conversation(tmp_path: Path) -> None:
    """One chats on a terminal, one looks; then the chat is killed."""
    with Chat(tmp_path, "notes") as chat:
        chat.say("hello there")
        chat.expect("✓ confirmed")
        chat.expect(PROMPT)
        who = f"process {chat.process.pid} on {HERE}"
        with Chat(tmp_path, command="list") as look:
            assert look.left() == 0
        assert f"open in {who}" in look.text
        assert told(tmp_path)[0]["holder"] == who
        chat.type("and again\r")  # the chat has not noticed anything
        chat.expect("✓ confirmed")
        chat.expect("turn 2")
        chat.process.kill()
        chat.process.wait()
    with Chat(tmp_path, command="list") as look:
        assert look.left() == 0
    assert f"{who} is dead: will be taken over" in look.text
    (one,) = told(tmp_path)
    assert (one["holder"], one["left"]) == (None, who)

    assert batch(tmp_path, "back\n", "-c").returncode == 0
    (one,) = told(tmp_path)
    assert (one["left"], one["turns"]) == (None, 3)


def test_a_terminal_has_colours_and_its_width(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chat.db", owner=Owner("far", 7, "1", "boot"))
    held = store.open("a conversation about many things, and a long name for it " * 3)
    append_now(held, [RequestSent(1, 1)])
    args = ("--store", str(tmp_path / "chat.db"))

    with Chat(tmp_path, *args, command="list", columns=60) as look:
        assert look.left() == 0
    assert "\x1b[36mopen in process 7 on far\x1b[0m" in look.raw
    assert [line for line in look.text.splitlines() if cells(line) > 60] == []
    with Chat(tmp_path, *args, command="list", environ={"NO_COLOR": "1"}) as look:
        assert look.left() == 0
    assert "\x1b" not in look.raw
    held.close()
    store.close()


def test_a_pipe_gets_whole_names_and_no_colours(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chat.db")
    store.open("é" * 200).close()
    store.close()

    out = turnlatch(tmp_path, "--store", str(tmp_path / "chat.db")).stdout
    assert "é" * 200 in out.decode()
    assert b"\x1b" not in out


def test_missing_store_is_not_an_error_and_is_not_created(tmp_path: Path) -> None:
    done = turnlatch(tmp_path)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"No conversation yet" in done.stdout
    assert told(tmp_path) == []
    assert not (tmp_path / "turnlatch").exists()


@pytest.mark.parametrize(
    ("name", "said"), [("none.db", b"there is no store"), ("text", b"not a database")]
)
def test_file_that_is_not_a_store_is_reported_in_one_line(
    tmp_path: Path, name: str, said: bytes
) -> None:
    (tmp_path / "text").write_text("This is no database, and it is long. " * 40)

    done = turnlatch(tmp_path, "--store", str(tmp_path / name))

    assert done.returncode == 7
    assert said in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert os.listdir(tmp_path) == ["text"]


def test_a_look_imports_nothing_heavy(tmp_path: Path) -> None:
    SQLiteStore(tmp_path / "chat.db").close()
    args = ["list", "--store", str(tmp_path / "chat.db")]

    done = python(WATCHED.format(args=args, heavy=HEAVY))

    assert (done.returncode, done.stderr) == (0, "")


# As a text.


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "now"),
        (0, "now"),
        (9.9, "now"),
        (10, "10 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86399, "23 h ago"),
        (86400, "1 d ago"),
        (14 * 86400 - 1, "13 d ago"),
    ],
)
def test_age_is_printed_in_one_unit(seconds: float, said: str) -> None:
    assert ago(NOW - seconds, NOW) == said


def test_old_conversation_is_listed_with_a_date() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", ago(NOW - 14 * 86400, NOW))
    assert ago(None, NOW) == "never"


def test_the_table() -> None:
    found = [
        Listing("notes", 148, None, "process 9 on h", 3, turns=12, used=NOW - 130),
        Listing(
            "a b", 31, None, None, 1, turns=3, used=NOW - 90000, left="process 7 on h"
        ),
        Listing("branch", 40, "notes", None, 0, turns=4),
    ]

    assert listed(found, LOOK, 80, NOW) == (
        "NAME    TURNS  ENTRIES  LAST USED\n"
        "notes      12      148  2 min ago  open in process 9 on h\n"
        "a b         3       31  1 d ago    process 7 on h is dead: will be taken over\n"
        "branch      4       40  never      fork of notes\n"
    )
    assert listed(found, LOOK, 50, NOW).splitlines()[3:5] == [
        "a b         3       31  1 d ago",
        "  process 7 on h is dead: will be taken over",
    ]


ANY = st.builds(
    Listing,
    st.text(min_size=1, max_size=60),
    st.integers(0, 10**6),
    st.none() | st.text(min_size=1, max_size=60),
    st.none() | st.just("process 12345 on a-host"),
    turns=st.integers(0, 10**5),
    used=st.none() | st.floats(0, NOW),
    left=st.none() | st.just("process 12345 on a-host"),
)


@given(st.lists(ANY, max_size=5), st.integers(50, 200), st.booleans())
def test_no_line_is_wider_than_the_window(
    found: list[Listing], width: int, plain: bool
) -> None:
    """Whatever somebody called a conversation, it is one line and commands nothing."""
    text = listed(found, Look(ascii=plain), width, NOW)

    assert all(cells(line) <= width for line in text.split("\n"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    starts = [line for line in text.split("\n")[1:] if line and line[:2] != "  "]
    assert len(starts) == len(found) or any(one.name.isspace() for one in found)
