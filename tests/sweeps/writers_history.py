"""What processes said they did, and the check of the record against it.

Every process writes a line before an operation (`invoke`) and one after it: `ok`, it is
done; `fail`, it had no effect; `info`, nobody can say. All append to one file, so that a
line stands before another if it was written before. A process that is killed leaves an
`invoke` with nothing after it.

`problems` is the checker. It knows nothing of leases and SQLite: it compares what was
acknowledged with what is in the record.
"""

import json
import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Final, final

import attrs

from turnlatch.errors import JournalError
from turnlatch.journal import SQLiteStore
from turnlatch_states.machine.events import Event, TurnOpened

DAMAGE: Final = frozenset({"JournalCorruptError", "JournalVersionError"})
"""Errors that no process may meet: no disk fails here."""


ACKNOWLEDGED: Final = b"+"
"""What a process says where an append was acknowledged, and `.` for any other line."""


def event(number: int, id_: str) -> Event:
    """An event that can be told from every other."""
    return TurnOpened(number, b'{"type":"text","text":"-"}', key=id_)


def id_of(event: Event) -> str:
    """What `event` was made with."""
    return str(event.key) if isinstance(event, TurnOpened) else repr(event)


@final
class History:
    """The end of the file that one process writes to.

    Attributes:
        mine: This process's.
    """

    mine: "ClassVar[History | None]" = None

    def __init__(self, path: Path, process: int, wake: int | None = None) -> None:
        History.mine = self
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._process = process
        self._wake = wake
        self._op = 0
        self._do = ""

    def invoke(self, do: str, **more: Any) -> None:
        """An operation is about to begin."""
        self._op += 1
        self._do = do
        self._write("invoke", do=do, **more)

    def ok(self, **more: Any) -> None:
        """It is done."""
        self._write("ok", **more)

    def fail(self, error: BaseException) -> None:
        """It did not happen."""
        self._write("fail", error=type(error).__name__, said=str(error))

    def info(self, error: BaseException) -> None:
        """It may have happened."""
        self._write("info", error=type(error).__name__, said=str(error))

    def crash(self, error: BaseException) -> None:
        """The process ends on something that no caller can expect."""
        self._write("crash", error=type(error).__name__, said=str(error))

    def _write(self, sort: str, **more: Any) -> None:
        line = {"p": self._process, "op": self._op, "type": sort, **more}
        # One write, with an end before it as well: a kill may leave a part of a line
        # where it crosses a page, and that must not spoil the next one.
        os.write(self._file, f"\n{json.dumps(line)}\n".encode())
        if self._wake is not None:
            done = sort == "ok" and self._do == "append"
            os.write(self._wake, ACKNOWLEDGED if done else b".")


@final
@attrs.define
class Op:
    """One operation, put together from its lines.

    Attributes:
        process: Who did it.
        do: What it was: open, append, read, close, and others without an effect.
        conversation: On what.
        ids: The events of an append.
        epoch: Under which epoch; of an append, that of its handle.
        began: Number of the line that it began with.
        ended: `ok`, `fail`, `info`, `crash`; empty for one that was cut off.
        end: Number of the line that it ended with.
        told: What `ok` told.
        error: The name of its error.
    """

    process: int
    do: str
    conversation: str
    ids: tuple[str, ...]
    epoch: int
    began: int
    ended: str = ""
    end: int = 0
    told: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    error: str = ""


def whole(text: str) -> tuple[list[str], int]:
    """The lines of a history, and how many were cut off by a kill: what such a line
    would have told was not told."""
    lines = [line for line in text.split("\n") if line]
    kept = [line for line in lines if _is_json(line)]
    return kept, len(lines) - len(kept)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def operations(lines: Sequence[str]) -> list[Op]:
    """The operations of a history, in the order they began."""
    found: dict[tuple[int, int], Op] = {}
    for number, line in enumerate(lines, 1):
        said = json.loads(line)
        key = said["p"], said["op"]
        if said["type"] == "invoke":
            found[key] = Op(
                said["p"],
                said["do"],
                said.get("c", ""),
                tuple(said.get("ids", ())),
                said.get("epoch", 0),
                number,
            )
            continue
        op = found.setdefault(key, Op(said["p"], "", "", (), 0, number))
        op.ended, op.end, op.told = said["type"], number, said
        op.error = said.get("error", "")
        if op.do == "open":
            op.epoch = said.get("epoch", 0)
    return list(found.values())


@final
@attrs.frozen
class Line:
    """One entry of a record."""

    sequence: int
    epoch: int
    id: str


Record = Mapping[str, Sequence[Line]]


def recorded(path: Path) -> tuple[Record, list[str]]:
    """What stands in a store, and what the store itself finds wrong with it."""
    wrong: list[str] = []
    found: dict[str, list[Line]] = defaultdict(list)
    with closing(sqlite3.connect(path)) as file:
        wrong += [
            f"damaged: {said}"
            for (said,) in file.execute("PRAGMA integrity_check")
            if said != "ok"
        ]
        rows = file.execute(
            "SELECT conversation, sequence, epoch, meta || body FROM journal"
        ).fetchall()
    for name, sequence, epoch, text in rows:
        found[name].append(Line(sequence, epoch, text))
    store = SQLiteStore(path)
    for name in [one.name for one in store.conversations()]:
        try:
            entries = store.read(name)  # which checks every hash
        except JournalError as error:
            wrong.append(f"damaged: {error}")
            continue
        raw = found[name]
        if len(entries) != len(raw):
            wrong.append(f"damaged: {name} reads as {len(entries)} of {len(raw)}")
        found[name] = [
            attrs.evolve(line, id=id_of(entry.event))
            for line, entry in zip(raw, entries, strict=False)
        ]
    store.close()
    return found, wrong


def problems(ops: Sequence[Op], record: Record) -> list[str]:
    """Whatever contradicts: one line each, the first word names the rule."""
    return [
        *_ends(ops),
        *_presence(ops, record),
        *_shape(record),
        *_owners(ops, record),
        *_order(ops, record),
        *_epochs(ops, record),
        *_reads(ops, record),
    ]


def _ends(ops: Sequence[Op]) -> Iterator[str]:
    for op in ops:
        if op.ended == "crash" or op.error in DAMAGE:
            yield f"error: process {op.process}, {op.do}: {op.told.get('said')}"


def _presence(ops: Sequence[Op], record: Record) -> Iterator[str]:
    """What was acknowledged is there once, what failed is not, and nothing else is."""
    there = {name: Counter(line.id for line in lines) for name, lines in record.items()}
    invoked: dict[str, Op] = {}
    for op in (one for one in ops if one.do == "append"):
        counts = [there.get(op.conversation, Counter())[id_] for id_ in op.ids]
        invoked |= dict.fromkeys(op.ids, op)
        if op.ended == "ok" and not all(counts):
            yield f"lost: {op.conversation} has not all of {op.ids}, acknowledged"
        elif op.ended == "fail" and any(counts):
            yield f"phantom: {op.conversation} has {op.ids}, which failed"
        elif any(counts) and not all(counts):
            yield f"torn: {op.conversation} has a part of {op.ids}"
        if any(count > 1 for count in counts):
            yield f"twice: {op.conversation} has {op.ids} more than once"
    for name, counts_ in there.items():
        for id_ in counts_:
            if id_ not in invoked or invoked[id_].conversation != name:
                yield f"phantom: {name} has {id_!r}, which nobody appended to it"


def _shape(record: Record) -> Iterator[str]:
    for name, lines in record.items():
        if [line.sequence for line in lines] != list(range(1, len(lines) + 1)):
            yield f"gap: {name} has {[line.sequence for line in lines]}"
        epochs = [line.epoch for line in lines]
        if epochs != sorted(epochs):
            yield f"backwards: the epochs of {name} are {epochs}"


def _owners(ops: Sequence[Op], record: Record) -> Iterator[str]:
    """One epoch is one process's, by its entries and by what was told when it opened."""
    by = {id_: op.process for op in ops if op.do == "append" for id_ in op.ids}
    writers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for name, lines in record.items():
        for line in lines:
            if line.id in by:
                writers[name, line.epoch].add(by[line.id])
    taken: Counter[tuple[str, int]] = Counter()
    for op in ops:
        if op.do == "open" and op.ended == "ok":
            writers[op.conversation, op.epoch].add(op.process)
            taken[op.conversation, op.epoch] += 1
    for (name, epoch), who in sorted(writers.items()):
        if len(who) > 1 or taken[name, epoch] > 1:
            yield f"shared: epoch {epoch} of {name} was given to {sorted(who)}"


def _order(ops: Sequence[Op], record: Record) -> Iterator[str]:
    """Entries stand in the order they were invoked by their process, and after whatever
    was acknowledged before they were invoked."""
    at = {line.id: line.sequence for lines in record.values() for line in lines}
    last: dict[tuple[str, int], int] = {}
    for op in (one for one in ops if one.do == "append"):
        places = [at[id_] for id_ in op.ids if id_ in at]
        if not places:
            continue
        key = op.conversation, op.process
        if places != list(range(places[0], places[0] + len(places))):
            yield f"order: {op.ids} of {op.conversation} stand at {places}"
        if places[0] <= last.get(key, 0):
            yield f"order: {op.ids} stand before what their process appended before"
        last[key] = max(places[-1], last.get(key, 0))
    for op, end in _acknowledged_before(ops, at, "append"):
        places = [at[id_] for id_ in op.ids if id_ in at]
        if places and places[0] <= end:
            yield f"order: {op.ids} stand before what was acknowledged before"


def _acknowledged_before(
    ops: Sequence[Op], at: Mapping[str, int], do: str
) -> Iterator[tuple[Op, int]]:
    """Operations of a sort, each with the last place that was acknowledged by then."""
    moments: list[tuple[int, bool, Op]] = []
    for op in ops:
        if op.do == do:
            moments.append((op.began, False, op))
        if op.do == "append" and op.ended == "ok":
            moments.append((op.end, True, op))
    ends: dict[str, int] = defaultdict(int)
    for _, done, op in sorted(moments, key=lambda one: one[:2]):
        if not done:
            yield op, ends[op.conversation]
            continue
        places = [at[id_] for id_ in op.ids if id_ in at]
        ends[op.conversation] = max([ends[op.conversation], *places])


def _epochs(ops: Sequence[Op], record: Record) -> Iterator[str]:
    """Once a newer epoch was taken, nobody appends under an older one, and what its
    taker was shown is all that the older ones have."""
    opened = [one for one in ops if one.do == "open" and one.ended == "ok"]
    for op in (one for one in ops if one.do == "append" and one.ended == "ok"):
        newer = [
            one.epoch
            for one in opened
            if one.conversation == op.conversation
            and one.epoch > op.epoch
            and one.end < op.began
        ]
        if newer:
            yield (
                f"late: {op.ids} was appended under epoch {op.epoch} of"
                f" {op.conversation}, after {max(newer)} was taken"
            )
    for op in opened:
        shown = op.told["sequence"]
        for line in record.get(op.conversation, ()):
            # Of newer ones it may see some: it was replaced before it was shown anything.
            older, own = line.epoch < op.epoch, line.epoch == op.epoch
            if (older and line.sequence > shown) or (own and line.sequence <= shown):
                yield (
                    f"late: epoch {op.epoch} of {op.conversation} was shown {shown}"
                    f" entries, and entry {line.sequence} is of epoch {line.epoch}"
                )


def _reads(ops: Sequence[Op], record: Record) -> Iterator[str]:
    """What was read is how the record begins, with whatever was acknowledged before."""
    at = {line.id: line.sequence for lines in record.values() for line in lines}
    for op, end in _acknowledged_before(ops, at, "read"):
        if op.ended != "ok":
            continue
        found: list[str] = op.told["ids"]
        lines = record.get(op.conversation, ())
        if found != [line.id for line in lines[: len(found)]]:
            yield f"stale: {op.conversation} was read as something else"
        if len(found) < end:
            yield f"stale: {op.conversation} was read without entry {end}"
