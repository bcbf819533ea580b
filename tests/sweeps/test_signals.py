"""One signal, or two, at random moments of real processes that end as people write it: in
no case is a conversation unreadable, stuck, without what was confirmed, or does an effect
happen twice.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from tests import warm
from tests.sweeps import quick
from tests.sweeps.signalled import STYLES
from tests.sweeps.sweep import Tally

Tallies = Callable[[str], Tally]

SEED: Final = 20261130
EVERY: Final = 170
"""Moments for each backend and style in a full run: more than 2,000 in all."""

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="a process forks and is sent POSIX signals"
)


def _signalled(
    folder: Path, backend: str, style: str, count: int, program: str = "signalled"
) -> None:
    """Have so many processes signalled; what they left is in the folder."""
    folder.mkdir()
    given = [str(folder), backend, style, str(SEED), str(count)]
    ended = warm.run(["-m", f"tests.sweeps.{program}", *given], timeout=3_600)
    assert ended.returncode == 0, ended.stderr.decode()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _checked(folder: Path, count: Tally) -> None:
    for number in sorted(one for one in folder.iterdir() if one.is_dir()):
        confirmed, effects = _lines(number / "confirmed"), _lines(number / "effects")
        try:
            quick.check(number / "chat.db", confirmed, effects)
        except BaseException as error:
            error.add_note(f"{folder.name}, {number.name}")
            raise
        count.add("points")
        count.add("turns confirmed and there", len(confirmed))
        count.add("effects, each once", len(effects))
        count.add("that had to be killed", (number / "killed").exists())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("style", STYLES)
def test_a_signal_at_a_random_moment(
    backend: str, style: str, folder: Path, full: bool, tally: Tallies
) -> None:
    count = tally(f"a signal on {backend}: {style}")
    made = folder / f"{backend} {style}"
    _signalled(made, backend, style, EVERY if full else 3)
    _checked(made, count)


@pytest.mark.spoils_journals("the planted flush saves events twice")
def test_a_flush_that_foresees_its_errors_is_seen(folder: Path) -> None:
    """The planted bug: what is no error of the journal's leaves events unsaved that are
    committed."""

    def until_seen() -> None:
        for number in range(10):
            made = folder / f"planted {number}"
            _signalled(made, "asyncio", "exits", 30, "foreseeing")
            _checked(made, Tally("planted"))

    with pytest.raises(AssertionError):
        until_seen()
