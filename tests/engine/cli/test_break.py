"""`turnlatch break` at real processes: what it finds, plays again, refuses and leaves."""

import os
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.engine.testing import raw_agent
from tests.part import WHOLE

from turnlatch.cli import main
from turnlatch.testing.command_agent import AgentCommand

ROOT = Path(__file__).parents[3]
AGENT = (sys.executable, raw_agent.__file__, "{folder}")
CALLS = '[{"calls": [{"name": "pay", "input": {"amount": 3}}]}]'
QUICK = ("--fault", "529", "--fault", "cut 5 clean", "--timeout", "60")
SHOP = """
import sys
from pathlib import Path
import anthropic
from examples import shop_agent
from turnlatch.testing import Effects
effects = Effects.from_environment()
tools = {"pay": effects.watched(shop_agent.pay)}
folder, prompt, *bugs = sys.argv[1:]
shop_agent.Agent(anthropic.Anthropic(), Path(folder), tools, bugs).say(prompt)
"""


def tried(*words: str) -> Result:
    return CliRunner().invoke(main, ["break", *words])


def replayed(result: Result) -> list[str]:
    """The words after `turnlatch break` of the line that plays it again."""
    _, _, line = result.stdout.partition("Play it again: ")
    line, _, _ = line.replace("\\\n", "").partition("\n")
    turnlatch, command, *words = shlex.split(line)
    assert (turnlatch, command) == ("turnlatch", "break")
    return words


def test_agent_without_a_bug_survives_and_no_process_is_left(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    script = f"sleep 1000 3>{shlex.quote(str(pipe))} & exec {shlex.join(AGENT)}"
    script = script.replace("'{folder}'", "{folder}")

    result = tried("--runs", "8", *QUICK, "--", "sh", "-c", script)

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "Nothing was found in 8 runs: the plain one, 5 of 5 troubles alone,"
        " 2 combinations.",
        "The effects of its tools were not judged: they keep no ledger.",
    ]
    assert result.stderr.splitlines()[:3] == [
        "run 1: say",
        "run 2: is refused",
        "run 3: dies at request 1",
    ]
    # It ends once no process has it open: those that were killed close it in their time.
    assert select.select([reading], [], [], 60)[0], "a process still has the pipe open"
    assert os.read(reading, 1) == b""
    os.close(reading)


waits = pytest.mark.skipif(
    not WHOLE, reason="waits for 20 s, as the process that it is about does"
)


@pytest.mark.parametrize(
    ("bug", "finding", "script", "options"),
    [
        ("poison", "poison_resent", "is refused", ()),
        ("cut", "truncated_reply_accepted", "meets cut 5 clean", ()),
        ("dead", "stuck", "say", ()),
        ("twice", "effect_repeated", "dies at effect done", ("--calls", CALLS)),
    ],
)
def test_planted_bug_is_found_and_its_replay_fails_again(
    bug: str, finding: str, script: str, options: tuple[str, ...]
) -> None:
    found = tried("--runs", "20", *options, *QUICK, "--", *AGENT, bug)

    assert found.exit_code == 1, found.output
    assert f"\n{finding}: " in found.stdout
    words = replayed(found)
    assert words[:2] == ["--replay", script]
    assert max(map(len, found.stdout.partition("Play it")[0].splitlines())) <= 100
    again = tried(*words)
    assert (again.exit_code, again.stdout) == (1, found.stdout)
    healthy = tried(*words[:-1])
    assert healthy.exit_code == 0, healthy.output
    assert healthy.stdout == f"The agent survived: {script}\n"


@waits
def test_waiting_without_a_read_timeout_is_found() -> None:
    script = "meets cut 4 stall"

    found = tried("--replay", script, "--timeout", "20", "--", *AGENT, "hang")

    assert found.exit_code == 1, found.output
    assert "\nno_read_timeout: request 1: " in found.stdout
    assert "(it had not ended after 20 s and was killed)" in found.stdout


def test_tolerated_defect_does_not_count() -> None:
    script = ("--replay", "meets cut 5 clean", "--tolerate", "truncated_reply_accepted")

    result = tried(*script, "--", *AGENT, "cut")

    assert result.exit_code == 0, result.output


@waits
def test_process_that_does_not_end_is_found_where_nothing_misbehaves() -> None:
    command = ("sh", "-c", f"{shlex.join(AGENT)}; sleep 1000")

    found = tried("--timeout", "20", "--", *command)

    assert found.exit_code == 1, found.output
    assert "\nhung: nothing misbehaves" in found.stdout


def test_saved_test_fails_as_the_agent_did(tmp_path: Path) -> None:
    saved = tmp_path / "test_regression.py"
    found = tried(
        "--replay", "meets cut 5 clean", "--save", str(saved), "--", *AGENT, "cut"
    )

    assert found.exit_code == 1, found.output
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(saved)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "truncated_reply_accepted: request 2 has the cut reply" in done.stdout
    written = saved.read_text("utf-8")
    saved.write_text(written.replace("'cut'", "'no bug'"), "utf-8")
    fixed: dict[str, object] = {}
    exec(compile(saved.read_text("utf-8"), str(saved), "exec"), fixed)
    test = fixed["test_conversation_survives"]
    assert callable(test)
    test()
    refused = tried("--save", str(saved), "--", *AGENT)
    assert (refused.exit_code, len(refused.output.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    ("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_stopped_command_leaves_no_process(
    ending: signal.Signals, status: int, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"exec 3>{shlex.quote(str(pipe))}; echo ready >&3; sleep 1000 & wait"
    with subprocess.Popen(
        [sys.executable, "-m", "turnlatch", "break", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        with pipe.open() as said:
            assert said.readline() == "ready\n"
            process.send_signal(ending)
            said.read()  # to its end: no process has it open any more
        printed, told = process.communicate()

    assert process.returncode == status, told
    assert printed == ""
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_during_the_start_leaves_no_process(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The signal comes when the process runs, and before its handle is returned."""
    started: list[Any] = []
    real: Any = subprocess.Popen

    def start(*args: Any, **options: Any) -> Any:
        started.append(real(*args, **options))
        signal.raise_signal(number)
        return started[0]

    def stop(_: int, __: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: SIM117 - the start raises it
            with AgentCommand(("sleep", "1000"), 1.0).started("", tmp_path, {}):
                pass
    finally:
        signal.signal(number, before)
    assert started[0].poll() == -signal.SIGKILL


def test_same_seed_gives_the_same_output() -> None:
    words = ("--runs", "7", "--fault", "529", "--", *AGENT)

    first, second, other = (tried("--seed", one, *words) for one in ("3", "3", "4"))

    assert first.exit_code == 0, first.output
    assert (first.stdout, first.stderr) == (second.stdout, second.stderr)
    assert first.stderr != other.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "write it after two dashes"),
        (["--", "no-such-command"], "'no-such-command' does not start"),
        (["--", "sh", "-c", "echo a word; exit 3"], "its last line: 'a word'"),
        (["--fault", "nope", "--", "true"], "nope"),
        (["--replay", "meets nope", "--", "true"], "nope"),
        (["--replay", "jumps", "--", "true"], "'jumps' is not known"),
        (["--replay", " ", "--", "true"], "it has no message"),
        (["--calls", "no-such-file", "--", "true"], "cannot be read"),
        (["--calls", "[1]", "--", "true"], "answer 1"),
        (
            ["--calls", CALLS.replace("pay", "fly"), "--", *AGENT],
            "no tool 'fly'; call a tool that its requests offer: pay",
        ),
    ],
)
def test_bad_use_gets_one_line(words: list[str], complaint: str) -> None:
    result = tried(*words)

    assert result.exit_code == 2, result.output
    told = result.stderr.splitlines()[-1]
    assert told.startswith("turnlatch: ")
    assert complaint in told
    assert result.stdout == ""


def test_agent_on_the_sdk_survives_a_kill_and_its_bug_does_not() -> None:
    words = ("--replay", "dies at effect done", "--calls", CALLS, "--")
    python = ("env", f"PYTHONPATH={ROOT}", sys.executable)
    command = (*python, "-c", SHOP, "{folder}", "{prompt}")

    healthy, broken = tried(*words, *command), tried(*words, *command, "twice")

    assert healthy.exit_code == 0, healthy.output
    assert broken.exit_code == 1, broken.output
    assert "\neffect_repeated: pay " in broken.stdout
