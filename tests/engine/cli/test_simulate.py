"""`turnlatch simulate` as a process: what it prints, serves, refuses, and how it stops."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from turnlatch.cli.simulate import simulate
from turnlatch.testing import Effects

HEADERS = {"x-api-key": "any", "anthropic-version": "2026-10-21"}
BODY: dict[str, Any] = {
    "model": "claude-opus-5",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "hello"}],
}


@contextmanager
def running(*options: str) -> Generator[tuple["subprocess.Popen[str]", str]]:
    """The command, and the URL it printed."""
    code = "from turnlatch.cli.simulate import simulate; simulate()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        name, _, url = line.strip().partition("=")
        assert name == "export ANTHROPIC_BASE_URL"
        try:
            yield process, url
        finally:
            if process.poll() is None:
                process.kill()


def ask(url: str, body: Any = BODY) -> tuple[int, Any]:
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1"
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.request("POST", "/v1/messages", json.dumps(body), HEADERS)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_simulate_serves_logs_and_stops(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text('["Hello from a file."]', encoding="utf-8")
    options = ("--scenario", str(scenario), "--faults", "429 retry-after=2 @2")
    with running(*options) as (process, url):
        first, second, third = ask(url), ask(url), ask(url)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)

    assert first[1]["content"] == [{"type": "text", "text": "Hello from a file."}]
    assert (second[0], third[0]) == (429, 200)
    assert process.returncode == 130, told
    lines = told.splitlines()
    assert "any key is accepted" in lines[0]
    assert "no tool is called without --tools" in lines[1]
    assert lines[2] == "#1 POST /v1/messages claude-opus-5 200"
    assert lines[3].startswith(
        "#2 POST /v1/messages claude-opus-5 429 rate_limit_error"
    )
    assert lines[-1] == "stopped"
    assert "Traceback" not in told


def test_tools_are_called_only_with_the_option_and_reported() -> None:
    schema = {"type": "object", "properties": {"command": {"type": "string"}}}
    tool = {"name": "shell", "input_schema": {**schema, "required": ["command"]}}
    body = {**BODY, "tools": [tool], "tool_choice": {"type": "any"}}

    for options, kinds, promise in (
        ((), {"text", "thinking"}, "no tool is called"),
        (("--tools",), {"text", "thinking", "tool_use"}, "your client will run them"),
    ):
        with running(*options) as (process, url):
            answers = [ask(url, body)[1] for _ in range(10)]
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=20)
        blocks = [block for answer in answers for block in answer["content"]]
        assert {block["type"] for block in blocks} == kinds
        inputs = [block["input"] for block in blocks if block["type"] == "tool_use"]
        assert all(each["command"].startswith("inert-") for each in inputs)
        assert promise in told.splitlines()[1]


def test_request_text_is_never_a_command_to_the_terminal() -> None:
    with running() as (process, url):
        status, _ = ask(url, {**BODY, "model": "\x1b]0;title\x07claude"})
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)

    assert status == 404
    assert "\\x1b]0;title\\x07claude" in told
    assert "\x1b" not in told


def test_a_window_may_be_set_and_the_seed_repeats() -> None:
    with running("--model-window", "3") as (_, url):
        status, body = ask(url)
    with running("--seed", "5") as (_, url):
        one = ask(url)
    with running("--seed", "5") as (_, url):
        other = ask(url)

    assert status == 400
    assert body["error"]["message"] == "prompt is too long: 6 tokens > 3 maximum"
    assert one == other


def pay(amount: int) -> str:
    return f"paid {amount}"


@pytest.mark.parametrize(
    ("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_verdict_is_printed_when_the_simulator_is_stopped(
    ending: signal.Signals, status: int, tmp_path: Path
) -> None:
    ledger = tmp_path / "the ledger"
    earlier = Effects(ledger)
    earlier.watched(pay)(1)
    options = ("--verdict", "--ledger", str(ledger), "--faults", "529 @1")
    with running(*options) as (process, url):
        assert process.stdout is not None
        named = process.stdout.readline()
        statuses = [ask(url, {**BODY, "max_tokens": many})[0] for many in (-1, 50)]
        Effects(ledger).watched(pay)(3)
        process.send_signal(ending)
        printed, told = process.communicate(timeout=60)

    assert named == f"export TURNLATCH_EFFECTS='{ledger}'\n"
    assert statuses == [529, 200]
    assert process.returncode == status, told
    assert told.splitlines()[-1] == "stopped"
    assert printed.startswith("2 defects in 2 requests.\n"), printed
    assert "\nillegal_request: request 1 " in printed
    assert (
        '\neffect_repeated: pay {"amount": 3} was asked for 0x and done 1x' in printed
    )
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--ledger", "effects"], "give both"),
        (["--verdict", "--ledger", __file__], "is not a ledger of effects"),
    ],
)
def test_unusable_ledger_is_refused_in_one_line(
    options: list[str], complaint: str
) -> None:
    result = CliRunner().invoke(simulate, options)

    assert result.exit_code == 2
    assert complaint in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "scenario", "complaint"),
    [
        (["--faults", "429 foo"], None, "position 4"),
        (["--faults", "limit nothing=3"], None, "images_max"),
        ([], "{}", "an array of answers"),
        ([], '["a", {"txt": "b"}]', "answer 2: unknown member 'txt'"),
        ([], '[{"calls": [{"input": {}}]}]', "answer 1: a call is"),
        ([], "nope", "no JSON"),
    ],
    ids=["fault", "limit", "object", "member", "call", "text"],
)
def test_bad_settings_are_refused_in_one_line(
    options: list[str], scenario: str | None, complaint: str, tmp_path: Path
) -> None:
    if scenario is not None:
        path = tmp_path / "scenario.json"
        path.write_text(scenario, encoding="utf-8")
        options = [*options, "--scenario", str(path)]

    result = CliRunner().invoke(simulate, options)

    assert result.exit_code == 2
    assert result.output.startswith("turnlatch: ")
    assert complaint in result.output
    assert len(result.output.splitlines()) == 1
