"""`turnlatch check`: what it prints, how it ends, and what it never imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from turnlatch.cli.check import check
from turnlatch_states.api.rules import RULES

EMPTY: dict[str, object] = {}
CALL: dict[str, object] = {
    "type": "tool_use",
    "id": "toolu_A",
    "name": "f",
    "input": EMPTY,
}
RESULT: dict[str, object] = {
    "type": "tool_result",
    "tool_use_id": "toolu_A",
    "content": "y",
}
OPEN: list[object] = [
    {"role": "user", "content": "x"},
    {"role": "assistant", "content": [CALL]},
]
CLEAN: list[object] = [
    {"role": "user", "content": "x"},
    {"role": "assistant", "content": "y"},
]


def run(tmp_path: Path, content: object, *options: str) -> Result:
    """Check a file; a string is written as it is."""
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "f.json").write_text(text, encoding="utf-8")
    return CliRunner().invoke(check, [str(tmp_path / "f.json"), *options])


def test_a_transcript_may_end_on_the_assistant(tmp_path: Path) -> None:
    result = run(tmp_path, CLEAN)

    assert result.exit_code == 0
    assert result.output == (
        f"{tmp_path / 'f.json'}: 2 messages read, nothing found for claude-sonnet-5-5"
        " (assumed) at anthropic-version 2026-10-21 (assumed); what only the server can"
        " tell is not judged (R18, R22, R31), nor is its last message (R7)\n"
    )


def test_given_options_are_not_listed_as_assumed(tmp_path: Path) -> None:
    request = {"model": "claude-opus-5", "max_tokens": 9, "messages": CLEAN[:1]}

    whole = run(tmp_path, request).output
    named = run(tmp_path, CLEAN, "--model", "claude-opus-5").output
    dated = run(tmp_path, request, "--api-version", "2023-06-01").output

    assert "1 message read, nothing found for claude-opus-5 at" in whole
    assert "(R7)" not in whole
    assert "for claude-opus-5 at anthropic-version 2026-10-21 (assumed);" in named
    assert "at anthropic-version 2023-06-01;" in dated


def test_the_version_counts(tmp_path: Path) -> None:
    request = {
        "model": "claude-sonnet-4-6",
        "max_tokens": 9,
        "messages": CLEAN[:1],
        "temperature": 0.2,
    }

    new = run(tmp_path, request)
    old = run(tmp_path, request, "--api-version", "2023-06-01")
    fixed = {**request, "model": "claude-opus-5"}
    refused = run(tmp_path, fixed, "--api-version", "2023-06-01")

    assert (new.exit_code, old.exit_code, refused.exit_code) == (1, 0, 1)
    assert "temperature: R1 Extra inputs are not permitted" in new.output
    assert "help: Remove `temperature`; it is a field before anthropic-v" in new.output
    assert "R20 `temperature` is deprecated for this model." in refused.output
    assert run(tmp_path, request, "--api-version", "latest").exit_code == 2


def test_an_unknown_name_is_a_note_and_no_finding(tmp_path: Path) -> None:
    request = {"model": "claude-0", "max_tokens": 9, "messages": CLEAN[:1]}
    betas = (
        "--beta",
        "new-2027-01-01",
        "--beta",
        "nonsense",
        "--beta",
        "pdfs-2024-09-25",
    )

    result = run(tmp_path, request, *betas)

    assert result.exit_code == 0
    notes = [line for line in result.stderr.splitlines() if ": note: " in line]
    assert [part for note in notes for part in note.split(": note: ")[1:]] == [
        "model 'claude-0' is not known here: it is held only to the rules that hold for"
        " all models",
        "beta 'new-2027-01-01' is not known here: what it allows is not",
        "'nonsense' cannot be the name of a beta: the API refuses the header",
    ]
    assert run(tmp_path, CLEAN).stderr == ""


def test_a_request_may_not(tmp_path: Path) -> None:
    request = {"model": "claude-opus-5", "max_tokens": 9, "messages": CLEAN}

    result = run(tmp_path, request)

    assert result.exit_code == 1
    assert (
        ": R7 This model does not support assistant message prefill." in result.output
    )


def test_an_unanswered_call_is_one_line_and_its_help(tmp_path: Path) -> None:
    result = run(tmp_path, OPEN)

    line, remedy = result.output.splitlines()
    assert result.exit_code == 1
    assert line == (
        f"{tmp_path / 'f.json'}: messages.1: R8 `tool_use` ids were found without "
        "`tool_result` blocks immediately after: toolu_A. Each `tool_use` block must have "
        "a corresponding `tool_result` block in the next message."
    )
    assert remedy.startswith("  help: Answer every call")


def test_a_wide_path_is_made_exact(tmp_path: Path) -> None:
    result = run(tmp_path, [{"role": "user", "content": " "}])

    assert "messages: R6 " in result.output
    assert "(messages.0.content.0)" in result.output


def test_json_has_the_same_findings(tmp_path: Path) -> None:
    result = run(tmp_path, OPEN, "--format", "json")

    [found] = json.loads(result.output)
    assert result.exit_code == 1
    assert (found["rule"], found["path"]) == ("R8", "messages.1")
    assert found["related"] == ["toolu_A"]
    assert found["message"] == f"{found['path']}: {found['reason']}"


def test_json_of_nothing_is_an_empty_list(tmp_path: Path) -> None:
    result = run(tmp_path, CLEAN, "--format", "json")

    assert (result.exit_code, json.loads(result.output)) == (0, [])


@pytest.mark.parametrize(
    "options",
    [("--ignore", "R8"), ("--select", "r1,R2"), ("--select", "R8", "--ignore", "R8")],
)
def test_rules_can_be_left_out(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert run(tmp_path, OPEN, *options).exit_code == 0


def test_an_unknown_rule_is_a_usage_error(tmp_path: Path) -> None:
    result = run(tmp_path, OPEN, "--ignore", "R99")

    assert result.exit_code == 2
    assert "no rule R99; there are R1 to R34" in result.output


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_every_rule_can_be_explained(rule: str) -> None:
    result = CliRunner().invoke(check, ["--explain", rule.lower()])

    assert result.exit_code == 0
    assert result.output.startswith(f"{rule}: ")
    assert "What to do: " in result.output
    assert "Source: " in result.output


def test_explaining_nothing_is_a_usage_error() -> None:
    assert CliRunner().invoke(check, ["--explain", "X"]).exit_code == 2


def test_the_model_counts(tmp_path: Path) -> None:
    middle = [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]

    assert run(tmp_path, middle).exit_code == 0
    assert run(tmp_path, middle, "--model", "claude-opus-4-7").exit_code == 1


def test_the_betas_count(tmp_path: Path) -> None:
    request = {
        "model": "claude-opus-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "thread": {"type": "create"},
    }

    assert run(tmp_path, request).exit_code == 1
    assert run(tmp_path, request, "--beta", "message-threads-2026-08-12").exit_code == 0


def test_standard_input_is_read() -> None:
    result = CliRunner().invoke(check, ["-"], input=json.dumps(OPEN))

    assert result.exit_code == 1
    assert result.output.startswith("<stdin>: messages.1: R8 ")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "not JSON: "),
        ("[NaN]", "not strict JSON: NaN is not a JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "9" * 5000 + "]", "not strict JSON: "),
        ("7", "neither an array of messages nor an object"),
        ("{}", "neither an array of messages nor an object"),
    ],
    ids=["cut", "nan", "deep", "long number", "number", "object"],
)
def test_unreadable_input_is_reported_in_one_line(
    tmp_path: Path, content: str, what: str
) -> None:
    result = run(tmp_path, content)

    assert result.exit_code == 7
    assert what in result.output
    assert len(result.output.splitlines()) == 1


def test_missing_file_is_reported_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(check, [str(tmp_path / "none")])

    assert result.exit_code == 7
    assert "No such file" in result.output


def test_bytes_that_are_not_text_are_reported(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'["\xff"]')

    result = CliRunner().invoke(check, [str(tmp_path / "f")])

    assert result.exit_code == 7
    assert "not UTF-8 at byte 2" in result.output


CALL_AGAIN: list[object] = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": [CALL]},
    {"role": "user", "content": [RESULT]},
    {"role": "assistant", "content": [{"type": "text", "text": "\n"}, CALL]},
    {"role": "user", "content": [RESULT]},
]


def test_form_that_the_api_was_seen_to_accept_is_a_note(tmp_path: Path) -> None:
    result = run(tmp_path, CALL_AGAIN)

    assert result.exit_code == 0
    assert "5 messages read, nothing found" in result.stdout
    notes = [line for line in result.stderr.splitlines() if ": note: " in line]
    assert [note.split(": note: ")[1].split()[0] for note in notes] == ["R6", "R11"]


@pytest.mark.parametrize(
    "content",
    [
        [CALL, CALL],
        [{"type": "text", "text": ""}, CALL],
        [{"type": "text", "text": " "}],
    ],
    ids=["one id twice in a reply", "empty text beside a call", "blank text alone"],
)
def test_form_that_the_api_was_not_seen_to_accept_is_a_finding(
    tmp_path: Path, content: list[object]
) -> None:
    messages = [*CALL_AGAIN[:1], {"role": "assistant", "content": content}]
    answered = {"role": "user", "content": [RESULT]}
    assert run(tmp_path, [*messages, answered]).exit_code == 1


def test_a_doubled_key_is_noted(tmp_path: Path) -> None:
    result = run(tmp_path, '[{"role": "user", "role": "user", "content": "x"}]')

    assert result.exit_code == 0
    assert "note: the key 'role' stands twice" in result.stderr


def test_half_a_character_is_a_finding(tmp_path: Path) -> None:
    result = run(tmp_path, '[{"role": "user", "content": "\\ud83d"}]')

    assert result.exit_code == 1
    assert ": R1 The request body is not valid JSON: no low surrogate" in result.output


def test_nothing_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    evil = "\u001b]0;x\u0007\u202e\u009b"
    call = {**CALL, "id": evil, evil: 1}

    result = run(tmp_path, [*OPEN[:1], {"role": "assistant", "content": [call]}])

    assert result.exit_code == 1
    assert "\\x1b" in result.output
    assert not set(result.output) & set(evil) - set("]0;x")


def test_neither_the_sdk_nor_its_transport_is_imported() -> None:
    program = (
        "import sys, turnlatch.cli.check\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('anthropic', 'httpx2')])"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "[]\n"
