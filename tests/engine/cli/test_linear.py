"""Work on text grows as the text does: counted, not timed."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.cli import ahead, check, explain, simulate, terminal
from turnlatch.cli.ahead import Ahead
from turnlatch.cli.main import main
from turnlatch.cli.page import Flow, wrapped
from turnlatch.cli.said import read
from turnlatch.cli.terminal import Look, cells
from turnlatch.cli.transcript import Transcript
from turnlatch_states.fsm.printable import escape

N = 2_000
WIDE = "漢"


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a character's width is looked up."""
    counts: Counter[str] = Counter()
    cell: Callable[[str], int] = vars(terminal)["_cell"]

    def counted(char: str) -> int:
        counts["cells"] += 1
        return cell(char)

    monkeypatch.setattr(terminal, "_cell", counted)
    return counts


def _note(text: str) -> object:
    return Transcript(Look(), lambda: 80, lambda _: []).note(text)


def _flow(text: str) -> object:
    flow = Flow()
    for at in range(0, len(text), 3):
        flow.feed(text[at : at + 3], 80)
    return flow.end(80)


DONE: dict[str, Callable[[str], object]] = {
    "wrap": lambda text: wrapped(text, 80),
    "note": _note,
    "flow": _flow,
}
SHAPES = {
    "one word": WIDE * N,
    "words": f"{WIDE} " * (N // 2),
    "marks": "e\u0301" * (N // 2),
    "word behind spaces": " " * (N // 2) + WIDE * (N // 2),
    "long words": (WIDE * 199 + " ") * (N // 200),
}


@pytest.mark.parametrize("done", DONE)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_character_is_measured_more_than_a_few_times(
    looked: Counter[str], done: str, shape: str
) -> None:
    DONE[done](SHAPES[shape])

    assert looked["cells"] <= 5 * N


def test_measure_by_pairs_is_noticed(looked: Counter[str]) -> None:
    """The planted bug: the rest of the line is measured anew for each of its lines."""
    line = WIDE * N
    while cells(line) > 80:
        line = line[40:]

    assert looked["cells"] > 5 * N


TEXT = st.text(st.sampled_from(["a", "b", " ", " ", WIDE, "\u0301", "-"]), max_size=200)


@given(TEXT, st.integers(0, 60))
def test_every_line_fits_and_nothing_is_lost(line: str, width: int) -> None:
    lines = wrapped(line, width)

    assert all(cells(each) <= max(20, width) for each in lines)
    assert "".join(lines).replace(" ", "") == line.replace(" ", "")


@given(
    st.lists(
        st.text(st.sampled_from("abc" + WIDE), min_size=1, max_size=9), max_size=30
    )
)
def test_words_that_fit_are_never_broken(words: list[str]) -> None:
    lines = wrapped(" ".join(words), 30)

    assert " ".join(lines).split() == words
    for one, following in pairwise(lines):
        first = following.split()[0]
        assert cells(one) + 1 + cells(first) > 30, "a line is as full as it can be"


# What a person types while a turn runs.


@pytest.mark.parametrize(
    "data",
    [b"\x1b[200~" + b"x" * 100_000, b"x" * 100_000, b"\x1b[" + b"0" * 100_000],
    ids=["pasted", "typed", "key without end"],
)
def test_typed_text_is_shown_by_its_end(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def counted(text: str) -> str:
        looked.append(len(text))
        return escape(text)

    monkeypatch.setattr(ahead, "escape", counted)
    line = Ahead()
    for at in range(0, len(data), 1024):
        line.feed(data[at : at + 1024])
        line.shown(Look(), 80)

    assert sum(looked) <= len(data)
    assert line.text.count("x") == data.count(b"x")


KEYS = ["a", "b", WIDE, " ", "\t", "\x7f", "\x15", "\x17", "\x01"]


@given(st.lists(st.sampled_from(KEYS), max_size=40), st.integers(1, 9))
def test_keys_mean_the_same_however_they_arrive(keys: list[str], step: int) -> None:
    data = "".join(keys).encode()
    whole, parts = Ahead(), Ahead()
    whole.feed(data)
    for at in range(0, len(data), step):
        parts.feed(data[at : at + step])

    assert parts.text == whole.text


@pytest.mark.parametrize(
    ("before", "left"),
    [("one two", "one "), ("one two  ", "one "), ("  ", ""), ("x", "")],
)
def test_ctrl_w_takes_back_a_word(before: str, left: str) -> None:
    line = Ahead()
    line.feed(before.encode() + b"\x17")

    assert line.text == left


# What is read of an error.

PATTERN = re.compile(r"\s*\((?:request id: )?req_\w+\)$")
"""What a request's id is by a pattern, which looks at runs of spaces by pairs."""


@given(
    st.lists(
        st.sampled_from(
            ["no", "(", ")", "req_1", "request id: ", " ", "(req_a)", "req_"]
        ),
        max_size=12,
    )
)
def test_request_id_at_the_end_is_left_out(parts: list[str]) -> None:
    message = "there is no such thing " + "".join(parts)
    said = read(f"400 {message}")

    assert said is not None
    assert said.message == " ".join(PATTERN.sub("", message).split())


def test_message_is_read_as_far_as_the_engine_reads_it() -> None:
    said = read("400 " + "input token count 1 " * 10_000)

    assert said is not None
    assert len(said.message) <= 500


# What a command is given.


@pytest.mark.parametrize(
    ("command", "module", "bound", "code"),
    [
        (["check", "FILE"], check, "BYTES_MAX", 7),
        (["check", "-"], check, "BYTES_MAX", 7),
        (["explain", "-"], explain, "BYTES_MAX", 2),
        (["simulate", "--scenario", "FILE"], simulate, "SCENARIO_BYTES_MAX", 2),
    ],
)
def test_no_command_reads_more_than_it_can_use(
    command: list[str],
    module: object,
    bound: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, bound, 2**20)
    file = tmp_path / "given.json"
    file.write_bytes(b" " * (2**20 + 1))
    given = [str(file) if word == "FILE" else word for word in command]

    done = CliRunner().invoke(main, given, input=file.read_bytes())

    assert done.exit_code == code
    assert "larger than 1 MiB" in done.output or "longer than 1024 KiB" in done.output


def test_keys_that_stand_twice_are_counted_once_each(tmp_path: Path) -> None:
    keys = [f'"k{at // 2}": 0' for at in range(20)]
    file = tmp_path / "twice.json"
    file.write_text(f'{{"messages": [], {", ".join(keys)}}}')

    told = CliRunner().invoke(main, ["check", str(file)]).output

    assert [f"the key 'k{at}' stands twice" in told for at in range(10)] == [True] * 10
