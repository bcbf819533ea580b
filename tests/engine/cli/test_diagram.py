"""`turnlatch diagram` draws what it is asked for and explains what it cannot draw."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from turnlatch.cli.diagram import diagram
from turnlatch.diagrams import MACHINES, Format, render, text

ASK = "import sys; from turnlatch.cli.diagram import diagram; diagram({args!r}, standalone_mode=False); print('anthropic' in sys.modules, file=sys.stderr)"


def run(*args: str, charset: str = "utf-8") -> tuple[int, str, str]:
    result = CliRunner(charset=charset).invoke(diagram, list(args))
    return result.exit_code, result.stdout, result.stderr


def test_default_is_the_turn_machine_as_text() -> None:
    assert run() == (0, render(MACHINES["turn"], "text"), "")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("form", get_args(Format))
def test_every_machine_comes_in_every_format(machine: str, form: Format) -> None:
    assert run(machine, "-f", form) == (0, render(MACHINES[machine], form), "")


def test_theme_is_passed_on() -> None:
    _, out, _ = run("call", "-f", "svg", "--theme", "dark")

    assert out == render(MACHINES["call"], "svg", theme="dark")


def test_unknown_machine_is_a_usage_error_that_lists_the_known_ones() -> None:
    code, out, err = run("trun")

    assert code == 2
    assert out == ""
    assert "no machine 'trun'; there are: turn, call, thread, writer" in err


def test_unknown_format_is_a_usage_error() -> None:
    code, _, err = run("turn", "-f", "png")

    assert code == 2
    assert "'png'" in err


def test_output_file_holds_the_drawing_and_the_screen_stays_empty(
    tmp_path: Path,
) -> None:
    file = tmp_path / "call.svg"

    assert run("call", "-f", "svg", "-o", str(file)) == (0, "", "")
    assert file.read_bytes() == render(MACHINES["call"], "svg").encode()


def test_output_dash_is_the_screen() -> None:
    assert run("-o", "-") == run()


def test_output_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "call.svg"

    code, out, err = run("call", "-f", "svg", "-o", str(file))

    assert code == 1
    assert out == ""
    assert str(file) in err


def test_plain_and_narrow_encodings_get_ascii() -> None:
    plain = text.draw(MACHINES["turn"], plain=True)

    assert plain.isascii()
    assert run("--plain")[1] == plain
    assert run(charset="ascii")[1] == plain
    assert run(charset="latin-1")[1] == plain


def test_file_gets_glyphs_whatever_the_screen_speaks(tmp_path: Path) -> None:
    file = tmp_path / "turn.txt"

    run("-o", str(file), charset="ascii")

    assert file.read_text("utf-8") == render(MACHINES["turn"], "text")


@pytest.mark.parametrize("args", [["call", "-f", "svg"], ["call"]])
def test_drawing_loads_no_client(args: list[str]) -> None:
    """A diagram needs no network and no key, so it must not wait for the SDK."""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", ASK.format(args=args)],
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert done.stderr.decode().strip() == "False"
    assert b"closed" in done.stdout


def test_svg_is_utf8_on_an_ascii_screen() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(args=["writer", "-f", "svg"])],
        capture_output=True,
        timeout=60,
        check=True,
        env={"PYTHONIOENCODING": "ascii"},
    )

    assert done.stdout.decode() == render(MACHINES["writer"], "svg")
