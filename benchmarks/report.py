"""The rows of the report, the facts of the machine, and how both are printed."""

import os
import platform
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, final

import attrs

from benchmarks.timing import Samples

Unit = Literal["ms", "bytes", "turns/s", "MB", "µs", "count"]


@final
@attrs.frozen
class Target:
    """What a measure is meant to reach.

    Attributes:
        bound: The number.
        kind: Whether the ratio or the value itself is bounded, and from which side.
    """

    bound: float
    kind: Literal["ratio at most", "ratio at least", "value at most"] = "ratio at most"


@final
@attrs.frozen
class Row:
    """One measure, and what it is held against.

    Attributes:
        measure: What was measured, in words.
        unit: The unit of both values.
        ours: Our value.
        reference: The value it is held against; None where there is none.
        against: What the reference is, in words.
        target: What was promised; None where nothing was.
    """

    measure: str
    unit: Unit
    ours: float
    reference: float | None = None
    against: str = ""
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the reference."""
        return self.ours / self.reference if self.reference else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing to tell by."""
        if self.target is None:
            return None
        bounded = self.ours if self.target.kind == "value at most" else self.ratio
        if bounded is None:
            return None
        if self.target.kind == "ratio at least":
            return bounded >= self.target.bound
        return bounded <= self.target.bound

    def as_json(self) -> Mapping[str, Any]:
        """The row as plain data."""
        return {
            **attrs.asdict(self),
            "ratio": self.ratio,
            "met": self.met,
        }


@final
@attrs.frozen
class Noise:
    """What the samples of several arms looked like at one place.

    Attributes:
        place: Case and size, in words.
        arms: The samples, by the name of the arm.
    """

    place: str
    arms: Mapping[str, Samples]

    @property
    def fastest(self) -> float:
        """The fastest sample of the first arm, divided by that of the second.

        The work of others only ever adds time, so this is what a noisy machine spoils
        last; where it and the ratio of the medians disagree, the run was disturbed.
        """
        ours, reference, *_ = self.arms.values()
        return ours.least / reference.least

    def as_json(self) -> Mapping[str, Any]:
        """The samples as plain data, in milliseconds."""
        return {
            "place": self.place,
            "arms": {name: list(one.values) for name, one in self.arms.items()},
        }


@final
@attrs.frozen
class Span:
    """One part of one of our turns.

    Attributes:
        part: What is done, in words.
        micros: Median microseconds per turn.
        share: The part of the whole turn, from 0 to 1.
    """

    part: str
    micros: float
    share: float


@final
@attrs.frozen
class Report:
    """Everything that one run found out.

    Attributes:
        rows: The measures, with their targets.
        noise: The samples behind the turns.
        spans: Where our turns spend their time, by the name of the turn.
    """

    rows: Sequence[Row] = ()
    noise: Sequence[Noise] = ()
    spans: Mapping[str, Sequence[Span]] = attrs.field(factory=dict[str, Sequence[Span]])

    def __add__(self, other: "Report") -> "Report":
        return Report(
            (*self.rows, *other.rows),
            (*self.noise, *other.noise),
            {**self.spans, **other.spans},
        )

    def as_json(self) -> Mapping[str, Any]:
        """The report as plain data."""
        return {
            "machine": machine_facts(),
            "rows": [row.as_json() for row in self.rows],
            "samples": [one.as_json() for one in self.noise],
            "spans": {
                name: [attrs.asdict(span) for span in spans]
                for name, spans in self.spans.items()
            },
        }

    def as_text(self) -> str:
        """The report as tables."""
        parts = [machine_line()]
        if self.rows:
            parts.append(_table(_COLUMNS, map(_cells, self.rows)))
        if self.noise:
            parts.append(
                "Every arm, ms: median (least to most); the fastest of ours to the fastest of (a)"
            )
            parts.append(_noise_table(self.noise))
        for name, spans in self.spans.items():
            parts.append(f"Where the time goes: {name}")
            parts.append(
                _table(
                    ("part", "µs", "share"),
                    (
                        (span.part, f"{span.micros:,.0f}", f"{span.share:.0%}")
                        for span in spans
                    ),
                )
            )
        return "\n\n".join(parts)


def machine_facts() -> Mapping[str, str]:
    """What somebody needs to know before comparing two runs."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "anthropic": version("anthropic"),
        "system": f"{platform.system()} {platform.release()}",
    }


def machine_line() -> str:
    """Those facts on one line."""
    return " · ".join(f"{name} {value}" for name, value in machine_facts().items())


_COLUMNS = ("measure", "ours", "reference", "ratio", "target", "met?")


def _cells(row: Row) -> Sequence[str]:
    reference = ""
    if row.reference is not None:
        reference = f"{_value(row.reference, row.unit)}  {row.against}"
    return (
        row.measure,
        _value(row.ours, row.unit),
        reference.rstrip(),
        "" if row.ratio is None else f"{row.ratio:.2f}x",
        _target(row),
        {True: "yes", False: "NO", None: ""}[row.met],
    )


def _target(row: Row) -> str:
    target = row.target
    if target is None:
        return ""
    match target.kind:
        case "value at most":
            return f"≤ {_value(target.bound, row.unit)}"
        case "ratio at least":
            return f"≥ {target.bound:g}x"
        case "ratio at most":
            return f"≤ {target.bound:g}x"


def _value(value: float, unit: Unit) -> str:
    match unit:
        case "ms" | "MB":
            return f"{value:.2f} {unit}"
        case "bytes" | "turns/s" | "µs":
            return f"{value:,.0f} {unit}"
        case "count":
            return f"{value:,.0f}"


def _noise_table(noise: Sequence[Noise]) -> str:
    names = list(dict.fromkeys(name for one in noise for name in one.arms))
    return _table(
        ("turn · messages", *names, "fastest"),
        (
            (
                one.place,
                *(
                    f"{s.median:.2f} ({s.least:.2f} to {s.most:.2f})"
                    for s in (one.arms[name] for name in names)
                ),
                f"{one.fastest:.2f}x",
            )
            for one in noise
        ),
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns under their heads: the first to the left, the others too, two apart."""
    lines = [heads, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    rule = ["─" * width for width in widths]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in (lines[0], rule, *lines[1:])
    )
