"""The checker of the writers' sweeps: silent on what is right, and it sees each defect."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from tests.around import append_now
from tests.sweeps.writers_history import (
    Line,
    Record,
    event,
    operations,
    problems,
    recorded,
    whole,
)

from turnlatch.journal import SQLiteStore

Said: TypeAlias = list[dict[str, Any]]
Defect: TypeAlias = Callable[[Said, list[Line]], None]


def said(process: int, op: int, sort: str, **more: Any) -> dict[str, Any]:
    return {"p": process, "op": op, "type": sort, **more}


def history() -> Said:
    """One appends a and b, then c; two takes over, appends d and reads."""
    red: dict[str, Any] = {"c": "red"}
    return [
        said(1, 1, "invoke", do="open", **red),
        said(1, 1, "ok", epoch=1, sequence=0),
        said(1, 2, "invoke", do="append", ids=["a", "b"], epoch=1, **red),
        said(1, 2, "ok"),
        said(1, 3, "invoke", do="append", ids=["c"], epoch=1, **red),
        said(1, 3, "ok"),
        said(2, 1, "invoke", do="open", **red),
        said(2, 1, "ok", epoch=2, sequence=3),
        said(2, 2, "invoke", do="append", ids=["d"], epoch=2, **red),
        said(2, 2, "ok"),
        said(2, 3, "invoke", do="read", **red),
        said(2, 3, "ok", ids=["a", "b", "c", "d"]),
    ]


def record() -> list[Line]:
    return [Line(1, 1, "a"), Line(2, 1, "b"), Line(3, 1, "c"), Line(4, 2, "d")]


def words(lines: Said, entries: list[Line]) -> set[str]:
    """The rules that the checker names."""
    found: Record = {"red": entries}
    told = problems(operations([json.dumps(line) for line in lines]), found)
    return {one.split()[0] for one in told}


def test_correct_history_passes() -> None:
    assert words(history(), record()) == set()


def test_a_line_that_a_kill_cut_off_tells_nothing_and_spoils_no_other() -> None:
    lines = [json.dumps(line) for line in history()]
    for cut in range(1, len(lines[5])):
        text = "\n\n".join([*lines[:5], lines[5][:cut], *lines[6:], ""])

        assert whole(text) == (lines[:5] + lines[6:], 1)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("cut", [True, False])
def test_uncertain_entry_may_be_present_or_absent(there: bool, cut: bool) -> None:
    """Cut off by a kill, or said to be in doubt; and never a part of it."""
    lines, entries = history()[:-2], record()
    lines[-1] = said(2, 2, "info", error="JournalError")
    if cut:
        del lines[-1]

    assert words(lines, entries if there else entries[:-1]) == set()


def _lost(lines: Said, entries: list[Line]) -> None:
    del entries[-1]


def _phantom(lines: Said, entries: list[Line]) -> None:
    entries.append(Line(5, 2, "x"))


def _failed_and_there(lines: Said, entries: list[Line]) -> None:
    lines[5] = said(1, 3, "fail", error="JournalError")


def _torn(lines: Said, entries: list[Line]) -> None:
    del lines[3]
    entries[1] = Line(2, 1, "c")
    entries[2] = Line(3, 2, "d")
    del entries[3]


def _twice(lines: Said, entries: list[Line]) -> None:
    entries.append(Line(5, 2, "d"))


def _gap(lines: Said, entries: list[Line]) -> None:
    entries[3] = Line(5, 2, "d")


def _backwards(lines: Said, entries: list[Line]) -> None:
    entries[0] = Line(1, 3, "a")


def _shared(lines: Said, entries: list[Line]) -> None:
    entries[3] = Line(4, 1, "d")


def _given_twice(lines: Said, entries: list[Line]) -> None:
    lines[7] = said(2, 1, "ok", epoch=1, sequence=3)


def _swapped(lines: Said, entries: list[Line]) -> None:
    entries[1:3] = [Line(2, 1, "c"), Line(3, 1, "b")]


def _before(lines: Said, entries: list[Line]) -> None:
    """What the second one appended stands before what was acknowledged to the first."""
    entries[2:] = [Line(3, 2, "d"), Line(4, 2, "c")]


def _late(lines: Said, entries: list[Line]) -> None:
    lines += [
        said(1, 4, "invoke", do="append", ids=["e"], epoch=1, c="red"),
        said(1, 4, "ok"),
    ]
    entries.append(Line(5, 1, "e"))


def _late_in_doubt(lines: Said, entries: list[Line]) -> None:
    """The same, and the process died before it could say so."""
    _late(lines, entries)
    del lines[-1]


def _read_too_little(lines: Said, entries: list[Line]) -> None:
    lines[-1] = said(2, 3, "ok", ids=["a", "b", "c"])


def _read_otherwise(lines: Said, entries: list[Line]) -> None:
    lines[-1] = said(2, 3, "ok", ids=["a", "b", "d", "c"])


def _crashed(lines: Said, entries: list[Line]) -> None:
    lines.append(said(2, 4, "crash", error="TypeError", said="-"))


def _damage_met(lines: Said, entries: list[Line]) -> None:
    lines[-1] = said(2, 3, "fail", error="JournalCorruptError", said="-")


@pytest.mark.parametrize(
    ("defect", "rule"),
    [
        (_lost, "lost:"),
        (_phantom, "phantom:"),
        (_failed_and_there, "phantom:"),
        (_torn, "torn:"),
        (_twice, "twice:"),
        (_gap, "gap:"),
        (_backwards, "backwards:"),
        (_shared, "shared:"),
        (_given_twice, "shared:"),
        (_swapped, "order:"),
        (_before, "order:"),
        (_late, "late:"),
        (_late_in_doubt, "late:"),
        (_read_too_little, "stale:"),
        (_read_otherwise, "stale:"),
        (_crashed, "error:"),
        (_damage_met, "error:"),
    ],
)
def test_each_defect_is_seen(defect: Defect, rule: str) -> None:
    """The planted bugs, one for each rule."""
    lines, entries = history(), record()
    defect(lines, entries)

    assert rule in words(lines, entries)


def test_an_entry_that_was_changed_is_seen(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "chat.db")
    append_now(store.open("red"), [event(1, "a"), event(2, "b")])
    store.close()
    found, wrong = recorded(tmp_path / "chat.db")
    assert wrong == []
    assert [attrs.astuple(line) for line in found["red"]] == [(1, 1, "a"), (2, 1, "b")]
    with sqlite3.connect(tmp_path / "chat.db") as file:
        file.execute("UPDATE entry SET at_ms = at_ms + 1")
    file.close()

    assert recorded(tmp_path / "chat.db")[1][0].startswith("damaged:")
