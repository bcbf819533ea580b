"""A table as SVG: one file, no script, no fonts, readable on white and on black."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from xml.sax.saxutils import escape, quoteattr

from turnlatch.diagrams.labels import MoveLabel, check_current, describe, marks, rows
from turnlatch.diagrams.layout import Point
from turnlatch.diagrams.palette import DARK, LIGHT, Palette, Theme
from turnlatch.diagrams.scene import (
    DETAIL_SIZE,
    STATE_SIZE,
    TRIGGER_SIZE,
    Arrow,
    Label,
    Node,
    Scene,
    scene,
)
from turnlatch_states.fsm.table import Table

_CORNER = 12.0
_FACES = 'ui-sans-serif,-apple-system,"Segoe UI",Inter,Helvetica,Arial,sans-serif'


def draw(
    table: Table,
    *,
    path: Sequence[MoveLabel] = (),
    current: str | None = None,
    theme: Theme = "auto",
) -> str:
    """The table as one SVG element.

    Every id starts with a prefix for this drawing, so several drawings fit in one page.
    States carry `data-state`, rows carry `data-row` (their place in the table).

    Raises:
        ValueError: A move is not a row of the table, or `current` is not a state of it.
    """
    check_current(table, current)
    drawn = scene(table, rows(table, path))
    prefix = _prefix(table, drawn, current, theme)
    return "\n".join(_document(table, drawn, prefix, current, theme)) + "\n"


def _prefix(table: Table, drawn: Scene, current: str | None, theme: Theme) -> str:
    """A start of ids that only drawings with the same content share.

    It is made of what is drawn alone: the representation of a table holds addresses of
    guards and sets in no order, which differ from run to run.
    """
    nodes = [(node.state, node.box) for node in drawn.nodes]
    arrows = [
        (arrow.row.sentence, arrow.row.label, arrow.points) for arrow in drawn.arrows
    ]
    facts = repr((table.name, table.promise, nodes, arrows, current, theme))
    return f"turnlatch-{table.name}-{sha256(facts.encode()).hexdigest()[:8]}"


def _document(
    table: Table, drawn: Scene, prefix: str, current: str | None, theme: Theme
) -> Iterator[str]:
    frame = drawn.frame
    box = " ".join(_number(v) for v in (frame.x, frame.y, frame.width, frame.height))
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{prefix}" viewBox="{box}"'
        f' width="{_number(frame.width)}" height="{_number(frame.height)}" role="img"'
        f' aria-labelledby="{prefix}-title {prefix}-desc">'
    )
    yield f'<title id="{prefix}-title">{escape(f"The {table.name} machine")}</title>'
    yield f'<desc id="{prefix}-desc">{escape(describe(table))}</desc>'
    yield f"<style>{''.join(_style(f'#{prefix}', theme))}</style>"
    yield "<defs>"
    for name, size in (("tip", 9), ("tip-taken", 7)):
        yield (
            f'<marker id="{prefix}-{name}" class="{name}" viewBox="0 0 8 8" refX="7.5"'
            f' refY="4" markerWidth="{size}" markerHeight="{size}" orient="auto"'
            ' markerUnits="strokeWidth"><path d="M0,0.5 L7.5,4 L0,7.5 L2,4z"/></marker>'
        )
    yield "</defs>"
    yield from _birth(drawn, prefix)
    # Taken rows lie on top of the others.
    for arrow in sorted(drawn.arrows, key=lambda each: each.row.count > 0):
        yield from _arrow(arrow, prefix)
    for node in drawn.nodes:
        yield from _node(table, node, prefix, current)
    yield "</svg>"


def _birth(drawn: Scene, prefix: str) -> Iterator[str]:
    x, y = drawn.dot
    yield f'<circle class="dot" cx="{_number(x)}" cy="{_number(y)}" r="7"/>'
    yield (
        f'<path class="line" d="{_curve(drawn.birth)}" marker-end="url(#{prefix}-tip)"/>'
    )


def _arrow(arrow: Arrow, prefix: str) -> Iterator[str]:
    row = arrow.row
    taken = " taken" if row.count else ""
    tip = "tip-taken" if row.count else "tip"
    yield (
        f'<g class="row{taken}" id="{prefix}-row-{row.index}" data-row="{row.index}"'
        f" data-trigger={quoteattr(row.transition.trigger)}"
        f" data-source={quoteattr(row.transition.source)}"
        f" data-target={quoteattr(row.transition.target)}>"
    )
    yield f"<title>{escape(row.sentence)}</title>"
    yield (
        f'<path class="line" d="{_curve(arrow.points)}"'
        f' marker-end="url(#{prefix}-{tip})"/>'
    )
    yield from _words(arrow.label, row.transition.trigger, row.times)
    yield "</g>"


def _words(label: Label, trigger: str, times: str) -> Iterator[str]:
    box = label.box
    x = {"start": box.x, "middle": box.x + box.width / 2, "end": box.x + box.width}
    place = f'x="{_number(x[label.anchor])}"'
    count = f' <tspan class="times">{times}</tspan>' if times else ""
    lines = [f'<tspan {place} class="trigger">{escape(trigger)}{count}</tspan>']
    lines += [
        f'<tspan {place} dy="14" class="detail">{escape(line)}</tspan>'
        for line in label.lines[1:]
    ]
    yield (
        f'<text {place} y="{_number(box.y + 11.5)}" text-anchor="{label.anchor}">'
        f"{''.join(lines)}</text>"
    )


def _node(table: Table, node: Node, prefix: str, current: str | None) -> Iterator[str]:
    state, box = node.state, node.box
    held = marks(table, state, current)
    classes = " ".join(("state", state.role.value, *held))
    told = f"{state.name}: {state.meaning}"
    told = "; ".join((told, *held))
    yield (
        f'<g class="{classes}" id="{prefix}-state-{state.name}" tabindex="0" role="img"'
        f' data-state="{state.name}" aria-label={quoteattr(told)}>'
    )
    yield f"<title>{escape(told)}</title>"
    yield _rect(box.x, box.y, box.width, box.height, 12, "box")
    if state.final:
        yield _rect(box.x + 4, box.y + 4, box.width - 8, box.height - 8, 9, "inner")
    x = _number(box.x + box.width / 2)
    note = " · ".join(word for word in held if word in {"rests", "final"})
    middle = box.y + box.height / 2 + (-1.5 if note else 5)
    yield (
        f'<text x="{x}" y="{_number(middle)}" text-anchor="middle" class="name">'
        f"{escape(state.icon)} {escape(state.name)}</text>"
    )
    if note:
        yield (
            f'<text x="{x}" y="{_number(middle + 15)}" text-anchor="middle"'
            f' class="note">{note}</text>'
        )
    yield "</g>"


def _rect(
    x: float, y: float, width: float, height: float, radius: float, name: str
) -> str:
    return (
        f'<rect class="{name}" x="{_number(x)}" y="{_number(y)}"'
        f' width="{_number(width)}" height="{_number(height)}" rx="{_number(radius)}"/>'
    )


def _style(root: str, theme: Theme) -> Iterator[str]:
    rules = {
        "text": f"font:{STATE_SIZE:g}px {_FACES}",
        ".name": "font-weight:600",
        ".note": "font-size:11px",
        ".trigger": f"font-size:{TRIGGER_SIZE:g}px",
        ".detail": f"font-size:{DETAIL_SIZE:g}px;font-style:italic",
        ".times": "font-weight:700",
        ".taken .trigger": "font-weight:600",
        ".line": "fill:none;stroke-width:1.5",
        ".taken .line": "stroke-width:2.6",
        ".box": "stroke-width:1.5",
        ".inner": "fill:none;stroke-width:1.2",
        ".current .box": "stroke-width:3.6",
        ".state:focus-visible .box": "stroke-width:3.6;stroke-dasharray:6 3",
    }
    for selector, rule in rules.items():
        yield f"{root} {selector}{{{rule}}}"
    yield from _colours(root, DARK if theme == "dark" else LIGHT)
    if theme == "auto":
        yield "@media (prefers-color-scheme:dark){"
        yield from _colours(root, DARK)
        yield "}"
    pulse = f"{root[1:]}-pulse"
    yield "@media (prefers-reduced-motion:no-preference){"
    yield f"{root} .current .box{{animation:{pulse} 1.8s ease-in-out infinite}}"
    yield f"@keyframes {pulse}{{50%{{stroke-opacity:.45}}}}}}"


def _colours(root: str, palette: Palette) -> Iterator[str]:
    yield f"{root} text{{fill:{palette.text}}}"
    yield f"{root} .row text{{fill:{palette.muted}}}"
    yield f"{root} .row.taken text{{fill:{palette.text}}}"
    yield f"{root} .row .times{{fill:{palette.path}}}"
    yield f"{root} .line{{stroke:{palette.edge}}}"
    yield f"{root} .taken .line{{stroke:{palette.path}}}"
    yield f"{root} .tip path{{fill:{palette.edge}}}"
    yield f"{root} .tip-taken path{{fill:{palette.path}}}"
    yield f"{root} .dot{{fill:{palette.text}}}"
    for role, look in palette.looks.items():
        yield f"{root} .{role.value} .box{{fill:{look.fill};stroke:{look.border}}}"
        yield f"{root} .{role.value} .inner{{stroke:{look.border}}}"


def _curve(points: Sequence[Point]) -> str:
    """The path through the points, its corners rounded."""
    parts = [f"M{_pair(points[0])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(_CORNER, _far(before, corner) / 2, _far(corner, after) / 2)
        parts.append(f"L{_pair(_towards(corner, before, radius))}")
        parts.append(f"Q{_pair(corner)} {_pair(_towards(corner, after, radius))}")
    parts.append(f"L{_pair(points[-1])}")
    return " ".join(parts)


def _far(one: Point, two: Point) -> float:
    return abs(one[0] - two[0]) + abs(one[1] - two[1])


def _towards(start: Point, end: Point, by: float) -> Point:
    share = by / (_far(start, end) or 1.0)
    return (
        start[0] + (end[0] - start[0]) * share,
        start[1] + (end[1] - start[1]) * share,
    )


def _pair(point: Point) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    """At most one decimal, never `-0`: the same bytes on every machine."""
    return f"{round(value, 1) + 0.0:g}"
