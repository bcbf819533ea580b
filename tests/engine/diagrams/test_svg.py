"""The SVG can be read by everybody: by eye in both themes, by ear, by keyboard."""

import re
from itertools import product
from xml.etree import ElementTree

import pytest

from turnlatch.diagrams import MACHINES, render
from turnlatch.diagrams.palette import DARK, LIGHT, Palette
from turnlatch.diagrams.parts import folded
from turnlatch_states.fsm.table import Table
from turnlatch_states.machine.call import CALL
from turnlatch_states.machine.turn import TURN

OUTER = folded(TURN)

SVG = "{http://www.w3.org/2000/svg}"
TABLES = pytest.mark.parametrize(
    "table", [*map(folded, MACHINES.values())], ids=MACHINES
)


def parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)


def ids(root: ElementTree.Element) -> list[str]:
    return [element.attrib["id"] for element in root.iter() if "id" in element.attrib]


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def faint(palette: Palette) -> list[tuple[str, str, float]]:
    """Every pair of colours that stands on each other with too little contrast."""
    fills = [look.fill for look in palette.looks.values()]
    borders = [look.border for look in palette.looks.values()]
    wanted = [
        *((palette.text, fill, 4.5) for fill in (*fills, palette.page)),
        (palette.muted, palette.page, 4.5),
        (palette.path, palette.page, 4.5),
        *((border, palette.page, 3.0) for border in borders),
        *((look.border, look.fill, 3.0) for look in palette.looks.values()),
        (palette.edge, palette.page, 3.0),
    ]
    return [each for each in wanted if contrast(each[0], each[1]) < each[2]]


@TABLES
def test_drawing_has_one_group_per_row_and_per_state(table: Table) -> None:
    root = parsed(render(table, "svg"))

    numbers = [
        g.attrib["data-row"] for g in root.iter(f"{SVG}g") if "data-row" in g.attrib
    ]
    names = [
        g.attrib["data-state"] for g in root.iter(f"{SVG}g") if "data-state" in g.attrib
    ]
    assert sorted(map(int, numbers)) == list(range(len(table.transitions)))
    assert names == [state.name for state in table.states]


@TABLES
def test_drawing_can_be_read_aloud_and_reached_by_keyboard(table: Table) -> None:
    root = parsed(render(table, "svg", current=table.initial))

    assert root.attrib["role"] == "img"
    named = root.attrib["aria-labelledby"].split()
    heads = {root[0].attrib["id"]: root[0], root[1].attrib["id"]: root[1]}
    assert [heads[name].tag for name in named] == [f"{SVG}title", f"{SVG}desc"]
    for row in table.transitions:
        assert f"{row.trigger}: {row.source} to {row.target}" in (root[1].text or "")
    for group in root.iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        assert title is not None
        assert title.text
        if "data-state" in group.attrib:
            assert group.attrib["tabindex"] == "0"
            assert group.attrib["aria-label"] == title.text


def test_ids_of_different_drawings_never_clash() -> None:
    drawings = [
        *(render(table, "svg") for table in MACHINES.values()),
        render(TURN, "svg", theme="dark"),
        render(TURN, "svg", current="sent"),
        render(TURN, "svg", path=[OUTER.transitions[0]]),
    ]

    every = [name for drawing in drawings for name in ids(parsed(drawing))]

    assert len(set(every)) == len(every)
    for drawing in drawings:
        root = parsed(drawing)
        assert all(name.startswith(root.attrib["id"]) for name in ids(root))
        links = re.findall(r"url\(#([^)]+)\)", drawing)
        assert set(links) <= set(ids(root))


def test_style_never_reaches_outside_the_drawing() -> None:
    root = parsed(render(TURN, "svg"))
    style = next(root.iter(f"{SVG}style")).text or ""

    selectors = re.findall(r"(?:^|[{}])\s*([^@{}%]+)\{", style)
    assert len(selectors) > 20
    assert {s.split()[0] for s in selectors} <= {f"#{root.attrib['id']}", "50"}


def test_auto_follows_the_system_and_fixed_themes_do_not() -> None:
    auto, light, dark = (
        render(TURN, "svg", theme=theme) for theme in ("auto", "light", "dark")
    )

    assert "@media (prefers-color-scheme:dark)" in auto
    assert LIGHT.text in auto
    assert DARK.text in auto
    assert "prefers-color-scheme" not in light + dark
    assert DARK.text not in light
    assert LIGHT.text not in dark


@TABLES
def test_page_is_never_painted(table: Table) -> None:
    for theme, palette in (("light", LIGHT), ("dark", DARK)):
        drawing = render(table, "svg", theme="light" if theme == "light" else "dark")
        rects = list(parsed(drawing).iter(f"{SVG}rect"))

        assert palette.page not in drawing
        finals = sum(state.final for state in table.states)
        assert len(rects) == len(table.states) + finals


def test_motion_is_only_for_those_who_did_not_decline_it() -> None:
    drawing = render(TURN, "svg", current="sent")

    before, guarded = drawing.split("@media (prefers-reduced-motion:no-preference)")
    assert "animation" not in before
    assert "animation" in guarded


def test_taken_rows_and_the_current_state_are_thick() -> None:
    root = parsed(render(TURN, "svg", path=[OUTER.transitions[0]], current="sent"))

    taken = [g for g in root.iter(f"{SVG}g") if "taken" in g.attrib["class"].split()]
    current = [
        g for g in root.iter(f"{SVG}g") if "current" in g.attrib["class"].split()
    ]
    assert [g.attrib["data-row"] for g in taken] == ["0"]
    assert [g.attrib["data-state"] for g in current] == ["sent"]


def test_final_states_have_a_double_border_and_resting_ones_a_word() -> None:
    for table in (CALL, TURN):
        for group in parsed(render(table, "svg")).iter(f"{SVG}g"):
            if "data-state" not in group.attrib:
                continue
            state = table.state(group.attrib["data-state"])
            words = [text.text for text in group.iter(f"{SVG}text")]
            assert len(list(group.iter(f"{SVG}rect"))) == (2 if state.final else 1)
            assert ("rests" in words) is state.rests
            assert ("final" in words) is state.final


def test_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_meet_aa(palette: Palette) -> None:
    assert faint(palette) == []


def test_text_of_the_wrong_theme_is_found_faint() -> None:
    """Planted bug: every text and every edge colour of the other theme must be seen."""
    for one, two in product((LIGHT, DARK), repeat=2):
        if one is not two:
            mixed = Palette(
                one.page, two.text, two.muted, one.edge, one.path, one.looks
            )
            assert len(faint(mixed)) > len(one.looks)
