"""Real processes that are really killed, for classes about crashes and two writers.

    def test_killed(scenario: Scenario) -> None:
        scenario.script(call("act", what="a"), "Done.")
        kill_at(scenario, "after act", "first")     # SIGKILL, the effect is done
        ...                                       # open the conversation here, finish it

The points are in `crash_child.py`. The child talks to the scenario's own simulator over
loopback, so its requests are in the same log and its replies in the same record.
"""

import json
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from tests import warm
from tests.harness.scenario import Scenario

from turnlatch.simulator import run_in_thread

ROOT: Final = Path(__file__).parents[2]


@final
class Child:
    """A child process, and what it says."""

    def __init__(self, process: warm.Spoken) -> None:
        self._process = process
        self.heard: list[str] = []

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.child.pid

    def hear(self) -> str:
        """Its next line; empty if it is gone."""
        line = self._process.stdout.readline().rstrip("\n")
        self.heard.append(line)
        return line

    def until(self, line: str) -> None:
        """Listen until it says that line.

        Raises:
            AssertionError: It ended without having said it.
        """
        while (said := self.hear()) != line:
            assert said, f"the child ended without saying {line!r}: {self.heard}"

    def go(self) -> None:
        """Let it go on from where it stands."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.child.send_signal(number)

    def kill(self) -> None:
        """End it without a chance to say a word, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._process.child.wait()


@contextmanager
def child_processes(scenario: Scenario) -> "Generator[Children]":
    """The scenario's simulator on loopback; children that are left are killed."""
    with run_in_thread(scenario.recorder.handed_out) as server:
        found = Children(scenario, server.base_url)
        try:
            yield found
        finally:
            found.end()


@final
class Children:
    """Starts children that converse on a scenario's store."""

    def __init__(self, scenario: Scenario, url: str) -> None:
        self._course = scenario
        self._url = url
        self._processes: list[warm.Spoken] = []

    def start(self, point: str, *messages: str, **more: Any) -> Child:
        """Start a child; `more` is further fields of its `Spec`."""
        spec = {
            "url": self._url,
            "store": str(self._course.store),
            "ledger": str(self._course.ledger),
            "point": point,
            "messages": messages,
            **more,
        }
        process = warm.Spoken(
            ["-m", "tests.harness.crash_child", json.dumps(spec)], cwd=ROOT
        )
        self._processes.append(process)
        return Child(process)

    def end(self) -> None:
        """Kill every child that is left."""
        for process in self._processes:
            process.end()


def kill_at(scenario: Scenario, point: str, *messages: str, **more: Any) -> None:
    """Run a child until it stands at that point, and kill it there."""
    with child_processes(scenario) as children:
        child = children.start(point, *messages, **more)
        child.until("now")
        child.kill()
