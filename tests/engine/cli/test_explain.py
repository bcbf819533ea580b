"""`turnlatch explain`: every word of the tables, every way an error is printed, any width."""

import ast
import importlib
import inspect
import json
import pkgutil
import shlex
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import turnlatch
import turnlatch.errors
import turnlatch_states
import turnlatch_states.api.fault_kinds
import turnlatch_states.api.rules
import turnlatch_states.api.stop_reasons
import turnlatch_states.machine.call
from turnlatch import Conversation, diagrams, tool
from turnlatch.cli.check import check
from turnlatch.cli.explain import explain, explained, listed
from turnlatch.cli.instructions import EXCEPTIONS, STATUSES
from turnlatch.cli.main import main
from turnlatch.cli.meanings import MACHINES, Course, Meaning, meanings, near
from turnlatch.cli.terminal import Look, cells, shown
from turnlatch.cli.words import (
    CLOSINGS,
    DEEDS,
    FOLLOWS,
    KINDS,
    OPTIONS,
    OUTCOMES,
    OUTSIDE,
    RULES_BY_WORDING,
    SCRIPTS,
)
from turnlatch.simulator import parse_faults
from turnlatch_states.api.error_codes import BY_CODE, FAMILIES, Family
from turnlatch_states.api.faults import (
    BY_STATUS,
    BY_TYPE,
    FaultKind,
    classify,
)
from turnlatch_states.api.rules import RULES
from turnlatch_states.api.stop_reasons import STOP_REASONS, Outcome
from turnlatch_states.fsm.errors import TurnlatchError
from turnlatch_states.fsm.table import Table
from turnlatch_states.machine.call import Closing
from turnlatch_states.machine.remedy import Remedy
from turnlatch_states.recovery.ladder import LADDERS

LOOK = Look()
TOO_LONG = "prompt is too long: 213462 tokens > 200000 maximum"
UNANSWERED = (
    "messages.3: `tool_use` ids were found without `tool_result` blocks immediately"
    " after: toolu_1."
)
BODY: dict[str, object] = {
    "type": "error",
    "error": {"type": "invalid_request_error", "message": UNANSWERED},
    "request_id": "req_1",
}


def run(*args: str, **more: Any) -> Result:
    return CliRunner().invoke(explain, list(args), **more)


def one(what: str) -> Meaning:
    (found,) = meanings(what)
    return found


def kind_of(what: str) -> FaultKind:
    course = one(what).course
    assert course is not None
    return course.kind


# The words are the core's.


def documented(module: ModuleType, name: str) -> dict[str, str]:
    """What stands under each member of an enumeration, on one line."""
    tree = ast.parse(inspect.getsource(module))
    found: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or node.name != name:
            continue
        for member, below in zip(node.body, node.body[1:], strict=False):
            if not isinstance(member, ast.Assign) or not isinstance(below, ast.Expr):
                continue
            target, said = member.targets[0], below.value
            assert isinstance(target, ast.Name)
            assert isinstance(said, ast.Constant)
            found[target.id] = " ".join(str(said.value).split())
    return found


@pytest.mark.parametrize(
    ("words", "members", "module"),
    [
        (KINDS, FaultKind, turnlatch_states.api.fault_kinds),
        (OUTCOMES, Outcome, turnlatch_states.api.stop_reasons),
        (CLOSINGS, Closing, turnlatch_states.machine.call),
    ],
)
def test_term_is_explained_as_the_core_declares_it(
    words: Mapping[StrEnum, str], members: type[StrEnum], module: ModuleType
) -> None:
    told = {member.name: words[member] for member in members}

    assert told == documented(module, members.__name__)


def test_every_method_option_and_exception_is_one_and_has_its_words() -> None:
    """What acts on a conversation is explained; and nothing is that does not exist."""
    acting = {
        name
        for kind in Conversation.__mro__
        for name, member in vars(kind).items()
        if not name.startswith("_") and inspect.iscoroutinefunction(member)
    }
    for name in DEEDS:
        assert callable(getattr(Conversation, name)), name
        assert "method of a conversation" in {m.sort for m in meanings(name)}
        assert meanings(f"{name}()"), name
    assert acting - {"close"} <= set(DEEDS)
    assert {"grace", "reconcile", "approve", "approval_timeout"} <= set(OPTIONS)
    for name in OPTIONS:
        assert name in inspect.signature(tool).parameters
        assert "option of a tool" in {m.sort for m in meanings(name)}


def exceptions() -> dict[str, type[TurnlatchError]]:
    """Every exception of turnlatch, wherever it is defined."""
    for package in (turnlatch, turnlatch_states):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    known: dict[str, type[TurnlatchError]] = {}
    waiting: list[type[TurnlatchError]] = [TurnlatchError]
    while waiting:
        one = waiting.pop()
        if one.__module__.partition(".")[0] in ("turnlatch", "turnlatch_states"):
            known[one.__name__] = one
        waiting += one.__subclasses__()
    return known


def test_every_exception_says_what_it_is_and_what_to_do() -> None:
    known = exceptions()

    assert set(EXCEPTIONS) == set(known)
    assert set(turnlatch.errors.__all__) <= set(known)
    for name, (module, _) in EXCEPTIONS.items():
        found = one(name)
        assert getattr(importlib.import_module(module), name) is known[name]
        assert found.sort == "exception"
        assert len(found.says) > 20, name
        assert len(dict(found.facts)["do"]) > 20, name
        assert near(name[:-1] + "x")[0] == name


def test_every_status_is_answered_in_its_own_words() -> None:
    assert set(STATUSES) == set(BY_STATUS)
    assert len(set(STATUSES.values())) == len(STATUSES)
    for status, says in STATUSES.items():
        assert one(str(status)).says == says
        assert says in " ".join(run(str(status)).stdout.split())
    assert "rate limit" in one("429").says


# One body for each wording that is said to be found: `turnlatch check` has to find it.
_USER: dict[str, Any] = {"role": "user", "content": "x"}
_MARK = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
_USE: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
_RESULT: dict[str, Any] = {
    "type": "tool_result",
    "tool_use_id": "toolu_1",
    "content": "x",
}
_CALLED: list[Any] = [_USER, {"role": "assistant", "content": [_USE]}]
_BROKEN = {"type": "base64", "media_type": "image/png", "data": "eA=="}
SEEN: dict[str, list[Any]] = {
    "at least one message is required": [],
    "all messages must have non-empty content": [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "y"},
        _USER,
    ],
    "does not support assistant message prefill": [
        _USER,
        {"role": "assistant", "content": "y"},
    ],
    "`tool_use` ids were found without `tool_result` blocks": [*_CALLED, _USER],
    "unexpected `tool_use_id` found in `tool_result` blocks": [
        {"role": "user", "content": [_RESULT]}
    ],
    "each tool_use must have a single result": [
        *_CALLED,
        {"role": "user", "content": [_RESULT, _RESULT]},
    ],
    "blocks with cache_control may be provided": [
        {"role": "user", "content": [_MARK] * 5}
    ],
    "Could not process image": [
        {"role": "user", "content": [{"type": "image", "source": _BROKEN}]}
    ],
}


@pytest.mark.parametrize(("fragment", "rule"), RULES_BY_WORDING)
def test_check_is_not_recommended_for_faults_it_cannot_see(
    fragment: str, rule: str, tmp_path: Path
) -> None:
    told = dict(one(f"400 messages: {fragment}").facts)["rule"]

    if fragment not in SEEN:
        assert "turnlatch check cannot see it" in told
        assert "turnlatch check finds it" not in told
        return
    assert "turnlatch check finds it" in told
    body = {"model": "claude-opus-5", "max_tokens": 9, "messages": SEEN[fragment]}
    (tmp_path / "body.json").write_text(json.dumps(body), encoding="utf-8")
    found = CliRunner().invoke(check, [str(tmp_path / "body.json"), "--select", rule])
    assert found.exit_code == 1
    assert fragment in found.output


def test_every_remedy_outcome_and_script_has_its_words() -> None:
    climbed = {
        rung.remedy
        for ladder in LADDERS.values()
        for rung in (*ladder.rungs, *ladder.summary)
    }

    assert set(OUTSIDE) == set(Remedy) - climbed
    assert set(FOLLOWS) == set(Outcome)
    for script in SCRIPTS.values():
        assert parse_faults(script)


def test_the_machines_are_those_that_are_drawn() -> None:
    assert {table.name: table for table in MACHINES} == dict(diagrams.MACHINES)


@pytest.mark.parametrize(("fragment", "rule"), RULES_BY_WORDING)
def test_a_wording_is_one_of_the_rules(fragment: str, rule: str) -> None:
    folder = Path(inspect.getfile(turnlatch_states.api.rules)).parent
    trees = [ast.parse(path.read_text("utf-8")) for path in folder.glob("*.py")]
    texts = [
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]

    assert any(fragment in text for text in texts)
    assert rule in {each.id for each in RULES}


# Whatever is in a table is known.


@pytest.mark.parametrize("kind", FaultKind)
def test_a_kind_has_its_ladder_and_what_comes_afterwards(kind: FaultKind) -> None:
    course = next(m for m in meanings(kind.value) if m.sort == "kind").course

    assert course is not None
    assert course.ladder is LADDERS[kind], "the very object that is executed"
    assert kind.name in {m.name.replace(" ", "_").upper() for m in meanings(kind.name)}


@pytest.mark.parametrize("remedy", Remedy)
def test_a_remedy_says_what_it_is_tried_for(remedy: Remedy) -> None:
    found = next(m for m in meanings(remedy.value) if m.sort == "remedy")

    facts = dict(found.facts)
    for kind, ladder in LADDERS.items():
        for rungs, name in ((ladder.rungs, "rung"), (ladder.summary, "summary rung")):
            for number, rung in enumerate(rungs, 1):
                if rung.remedy is remedy:
                    where = f"{kind.value} ({name} {number} of {len(rungs)})"
                    assert where in facts["tried for"]
                    assert rung.often in facts["bound"]
    assert ("tried" in facts) == (remedy in OUTSIDE)


@pytest.mark.parametrize("status", BY_STATUS)
def test_a_status_is_known_by_itself(status: int) -> None:
    found = one(str(status))

    assert (found.sort, found.by) == ("status", "status")
    assert kind_of(str(status)) is BY_STATUS[status]


@pytest.mark.parametrize("type_", BY_TYPE)
def test_a_type_is_known_by_itself(type_: str) -> None:
    found = one(type_)

    assert (found.sort, found.by) == ("error type", "type")
    assert kind_of(type_) is BY_TYPE[type_]


@pytest.mark.parametrize("code", BY_CODE)
def test_a_code_is_known_by_itself_or_says_that_it_says_nothing(code: str) -> None:
    found = one(code)

    kind = BY_CODE[code]
    assert found.sort == "error code"
    if kind is None:
        assert found.course is None
        assert "adds nothing to the status" in found.says
    else:
        assert (found.by, kind_of(code)) == ("code", kind)


@pytest.mark.parametrize("alike", FAMILIES, ids=lambda alike: alike.name)
def test_unknown_code_is_explained_by_its_family(alike: Family) -> None:
    found = one(f"400 {(alike.starts or alike.words)[0]}_of_tomorrow")

    assert (found.sort, found.by) == ("error", "family")
    assert f"({alike.name})" in found.evidence
    assert found.course is not None
    assert found.course.kind is alike.kind


@pytest.mark.parametrize(
    "what", ["the plan", "key_", "_key_x", "Organization_X", "plan"]
)
def test_word_that_only_looks_like_a_code_is_unknown(what: str) -> None:
    assert all(found.by != "family" for found in meanings(f"400 {what}"))


@pytest.mark.parametrize("reason", STOP_REASONS)
def test_a_stop_reason_says_what_follows(reason: str) -> None:
    found = next(m for m in meanings(reason) if m.sort == "stop reason")

    assert found.says == OUTCOMES[STOP_REASONS[reason]]
    assert dict(found.facts)["then"]


@pytest.mark.parametrize("table", MACHINES, ids=lambda table: table.name)
def test_every_state_and_trigger_has_all_its_rows(table: Any) -> None:
    for state in table.states:
        found = [m for m in meanings(state.name) if m.sort == "state"]
        rows = [row for m in found for row in m.rows]
        for row in table.transitions:
            assert (row in rows) >= (state.name in (row.source, row.target))
    for trigger in table.triggers():
        rows = [row for m in meanings(trigger) for row in m.rows]
        assert {r for r in table.transitions if r.trigger == trigger} <= set(rows)


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_rule_is_explained_as_check_prints_it(rule: str) -> None:
    told = CliRunner().invoke(check, ["--explain", rule])

    assert run(rule.lower()).stdout == told.stdout


def test_a_word_with_two_meanings_has_both() -> None:
    assert [m.sort for m in meanings("compaction")] == ["kind", "stop reason"]
    assert [m.sort for m in meanings("thread")] == ["kind", "machine"]
    assert [m.sort for m in meanings("cut off")] == ["kind", "closing of a call"]


@pytest.mark.parametrize("what", ["too_long", "TOO_LONG", "Too-Long", " too  long "])
def test_a_word_may_be_spelt_as_people_spell(what: str) -> None:
    assert kind_of(what) is FaultKind.TOO_LONG


# Messages.


@pytest.mark.parametrize(
    ("what", "kind", "by"),
    [
        (TOO_LONG, FaultKind.TOO_LONG, "wording"),
        (f"400 {TOO_LONG}", FaultKind.TOO_LONG, "wording"),
        (UNANSWERED, FaultKind.BLOCK, "wording"),
        (
            "metadata: Extra inputs are not permitted",
            FaultKind.OPTIONAL_FIELD,
            "wording",
        ),
        ("metadata", FaultKind.OPTIONAL_FIELD, "wording"),
        ("429 You have reached your API usage limits", FaultKind.BILLING, "wording"),
        ("404 not_found_error: model: claude-0", FaultKind.MODEL_GONE, "wording"),
        ("529 overloaded_error: Overloaded (req_01ab)", FaultKind.TRANSIENT, "status"),
        ("HTTP/1.1 503 Service Unavailable", FaultKind.TRANSIENT, "status"),
        ("HTTP 418", FaultKind.INVALID, "status"),
        ("409 skill_name_taken", FaultKind.TRANSIENT, "status"),
        ("400 thread_not_found", FaultKind.THREAD, "code"),
        ("cmek_not_approved", FaultKind.AUTH, "code"),
        ("400 cmek_of_tomorrow", FaultKind.AUTH, "family"),
        ("400 workspace_api_key_limit_exceeded: no", FaultKind.AUTH, "family"),
        ("storage_of_tomorrow", FaultKind.AUTH, "family"),
        ("429 spend_limit_of_tomorrow", FaultKind.BILLING, "family"),
        ("503 workspace_of_tomorrow", FaultKind.TRANSIENT, "status"),
        ("403 feature_of_tomorrow", FaultKind.AUTH, "status"),
        ("overloaded_error: Overloaded", FaultKind.TRANSIENT, "type"),
        ("400 billing_error: no", FaultKind.BILLING, "type"),
        (json.dumps(BODY), FaultKind.BLOCK, "wording"),
        (f"API Error: 400 {json.dumps(BODY)}", FaultKind.BLOCK, "wording"),
        (f"BadRequestError: Error code: 400 - {BODY}", FaultKind.BLOCK, "wording"),
        (
            '429 {"error": {"type": "rate_limit_error", "message": "no", "details":'
            ' {"error_code": "enforced_spend_limit_reached"}}}',
            FaultKind.BILLING,
            "code",
        ),
        (
            "✕ turn 2 failed: 529 overloaded_error: x (req_1)",
            FaultKind.TRANSIENT,
            "status",
        ),
        ("turn 2 suspended: 401 authentication_error: x", FaultKind.AUTH, "status"),
        ("budget: the turn has sent its 60 requests", FaultKind.BUDGET, "turnlatch"),
        ("transient: RemoteProtocolError: closed", FaultKind.TRANSIENT, "turnlatch"),
    ],
)
def test_an_error_is_read_however_it_was_printed(
    what: str, kind: FaultKind, by: str
) -> None:
    assert (kind_of(what), one(what).by) == (kind, by)


def test_a_message_leads_to_the_rule_that_it_is_about() -> None:
    assert dict(one(UNANSWERED).facts)["rule"].startswith("R8: ")
    assert dict(one(TOO_LONG).facts)["rule"].startswith("R31: ")
    assert "messages.3" in one(UNANSWERED).evidence


def test_a_message_that_says_nothing_is_not_guessed_at() -> None:
    found = one("the hamster left its wheel")

    assert found.course is None
    facts = dict(found.facts)
    assert facts["with a 400"].startswith("invalid: ")
    assert facts["with no status"].startswith("transient: ")


@given(
    st.none() | st.sampled_from([*BY_STATUS, 200, 307, 418, 599]),
    st.none() | st.sampled_from(sorted(BY_TYPE)),
    st.none() | st.sampled_from(sorted(BY_CODE)),
    st.sampled_from(
        ["", TOO_LONG, UNANSWERED, "model: x", "credit balance", "no idea"]
    ),
)
def test_a_whole_error_has_the_kind_that_the_engine_gives_it(
    status: int | None, type_: str | None, code: str | None, message: str
) -> None:
    if status is None:
        return  # then the engine knows that nothing came, and a text does not
    words = [str(each) for each in (status, type_, code) if each is not None]
    what = " ".join(words) + (f": {message}" if message else "")

    course = one(what).course

    assert course is not None
    assert course.kind is classify(status, type_, code, message)


@given(st.text(max_size=60), st.integers(20, 130), st.booleans())
def test_any_text_is_explained_or_unknown_and_never_obeyed(
    what: str, width: int, colour: bool
) -> None:
    found = meanings(what)

    told = shown(explained(found, Look(colour=colour), width))

    told = told.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert not set(told) & {"\x1b", "\x07", "\r", "\u202e"}
    assert isinstance(near(what), tuple)


# What is printed.


@pytest.mark.parametrize("width", [30, 40, 80, 130])
def test_everything_fits_the_window(width: int) -> None:
    words = ["529", "too long", "failed", "pause_turn", "max_tokens", UNANSWERED]
    texts = [explained(meanings(word), LOOK, width) for word in words]

    for text in [*texts, listed(LOOK, width)]:
        for line in text.splitlines():
            copied = "turnlatch chat --faults" in line
            assert copied or cells(line) <= width or " " not in line.strip(), line


def test_an_explanation_says_everything_in_order() -> None:
    out = run("529", env={"COLUMNS": "100"}).stdout

    places = [
        out.index(part)
        for part in (
            "529 (status)",
            "counts as  transient: ",
            "known by   its status",
            "rung by rung",
            "1  recall",
            "2  wait",
            "8 failures in a row",
            "5  probe",
            "6  bisect",
            "60 requests a turn",
            "history ends at the last confirmed exchange, input still staged",
            "retry() later, or send() something else",
            "turnlatch chat --faults 529",
        )
    ]
    assert places == sorted(places)
    assert "\x1b" not in out


def test_colour_is_for_terminals_or_on_demand() -> None:
    # Ink becomes colour where the command line guards its streams.
    coloured = CliRunner().invoke(main, ["explain", "529"], env={"FORCE_COLOR": "1"})
    assert "\x1b[1m" in coloured.stdout
    assert "\x1b" not in run("529").stdout


def test_without_a_word_every_kind_is_listed() -> None:
    out = run().stdout

    for kind in FaultKind:
        assert f"  {kind.value} " in out
    assert "turnlatch explain WHAT says more" in out


def test_words_need_no_quotes_and_standard_input_is_read() -> None:
    assert run("too", "long").stdout == run("too long").stdout
    assert run("-", input=f"{UNANSWERED}\n").stdout == run(UNANSWERED).stdout


@pytest.mark.parametrize(
    ("what", "alike"),
    [
        ("overladed", "overloaded_error"),
        ("to long", "too long"),
        ("pauseturn", "pause_turn"),
        ("R99", "R9"),
    ],
)
def test_an_unknown_word_is_one_line_with_what_is_near(what: str, alike: str) -> None:
    result = run(what)

    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"turnlatch: {what!r} is unknown: looked for a status")
    assert alike in line.partition("near: ")[2].split(", ")


def test_nothing_near_points_to_the_list() -> None:
    assert "turnlatch explain lists the kinds" in run("qqqqqqqq").stderr


def test_json_has_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads(run("529", "--json").stdout)

    assert told["what"] == "529"
    [found] = told["meanings"]
    assert (found["is"], found["name"], found["by"]) == ("status", "529", "status")
    fault = found["fault"]
    assert fault["kind"] == "transient"
    rungs = [rung["remedy"] for rung in fault["rungs"]]
    printed = LADDERS[FaultKind.TRANSIENT]
    assert rungs == [rung.remedy.value for rung in printed.rungs]
    assert [rung["bound"] for rung in fault["rungs"]] == [
        r.often for r in printed.rungs
    ]
    of_summaries = [rung["remedy"] for rung in fault["summary_rungs"]]
    assert of_summaries == ["wait", "skip", "suspend"]
    assert set(fault) >= {"says", "bounds", "kept", "afterwards", "suspends", "script"}
    assert json.loads(run("--json", "402").stdout)["meanings"][0]["fault"]["suspends"]
    [state] = json.loads(run("--json", "pending").stdout)["meanings"]
    assert {"send", "retry"} <= {row["trigger"] for row in state["rows"]}
    kinds = json.loads(run("--json").stdout)["kinds"]
    assert [each["kind"] for each in kinds] == list(FaultKind)


def test_json_of_what_is_unknown_has_what_is_near() -> None:
    result = run("overladed", "--json")

    told = json.loads(result.stdout)
    assert result.exit_code == 2
    assert (told["meanings"], told["near"]) == ([], ["overloaded_error"])


@pytest.mark.parametrize("what", [*map(str, BY_STATUS), *BY_TYPE, TOO_LONG, UNANSWERED])
def test_suggested_fault_script_can_be_run(what: str) -> None:
    course = one(what).course

    assert course is not None
    if course.script is None:
        assert Course.of(course.kind).script is None
        return
    lines = explained(meanings(what), LOOK, 100).splitlines()
    line = next(line for line in lines if "try it" in line)
    command = line.partition("try it")[2]
    assert shlex.split(command) == ["turnlatch", "chat", "--faults", course.script]
    assert parse_faults(course.script)


def test_neither_the_sdk_nor_its_transport_is_imported() -> None:
    program = (
        "import sys; from turnlatch.cli import main\n"
        "try: main(['explain', '529'])\n"
        "except SystemExit: pass\n"
        "heavy = ('anthropic', 'httpx2', 'rich', 'pydantic', 'turnlatch')\n"
        "print([m for m in sys.modules if m.split('.')[0] in heavy[:4]])"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("table", MACHINES, ids=lambda table: table.name)
def test_every_state_is_explained_with_the_rows_that_lead_there_or_away(
    table: Table,
) -> None:
    for state in table.states:
        (meant,) = (
            one
            for one in meanings(state.name)
            if one.sort == "state"
            and dict(one.facts)["machine"].startswith(f"{table.name};")
        )
        assert meant.rows, state.name
        facts = dict(meant.facts)
        assert facts.get("part of", "") == state.parent
        if state.name == "failed":
            assert "suspended" in facts["parts"]
