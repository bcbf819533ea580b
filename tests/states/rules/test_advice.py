"""What to do about a finding is about that finding, and what nobody can see is said."""

from typing import Any, cast

import pytest
from tests.states.rules.test_findings import ACCEPTED, REFUSED, Case

from turnlatch_states.api.rules import (
    RULES,
    Context,
    Finding,
    Rule,
    advice,
    check,
    explain,
)

HELP = {rule.id: rule.help for rule in RULES}
MANY = {"R1", "R2", "R3", "R4", "R11", "R20", "R24", "R28", "R29", "R30", "R33"}
"""Rules that refuse several different things: what helps against one is no help against
another, so their general word is never the answer."""

FOUND = [
    (case.name, finding)
    for case in REFUSED
    for finding in check(cast("Any", case.body), case.context)
]


@pytest.mark.parametrize(("name", "finding"), FOUND)
def test_every_finding_has_its_own_advice(name: str, finding: Finding) -> None:
    said = advice(finding)

    assert said.endswith(".")
    assert len(said) > 10
    assert "``" not in said, name
    assert finding.rule not in MANY or said != HELP[finding.rule], finding.message


def test_a_rule_of_many_gives_many_words() -> None:
    for rule in MANY:
        reasons = {f.reason for _, f in FOUND if f.rule == rule}
        said = {advice(f) for _, f in FOUND if f.rule == rule}
        assert len(said) > 1 or len(reasons) == 1, rule


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (
            Finding("R1", "temperature", "Extra inputs are not permitted"),
            "Remove `temperature`; it is a field before anthropic-version 2026-10-21 only.",
        ),
        (
            Finding("R1", "thread", "Extra inputs are not permitted"),
            "Remove `thread`, or send anthropic-beta: message-threads-2026-08-12.",
        ),
        (
            Finding("R1", "messages.3.output_config", "Extra inputs are not permitted"),
            "Remove `output_config`, or send anthropic-beta:"
            " mid-conversation-effort-2026-08-01 or"
            " mid-conversation-output-config-2026-07-01 or per-turn-control-2026-07-01.",
        ),
        (
            Finding("R1", "colour", "Extra inputs are not permitted"),
            "Remove `colour`; the API has no such field there.",
        ),
        (Finding("R2", "max_tokens", "Field required"), "Add `max_tokens`."),
        (
            Finding("R20", "", "`top_k` is deprecated for this model."),
            "Leave `top_k` out: this model has its default only.",
        ),
        (
            Finding("R1", "metadata.user_id", "Input should be a valid string"),
            "Give a valid string as `user_id`.",
        ),
    ],
)
def test_advice_names_the_same_part_as_the_finding(finding: Finding, said: str) -> None:
    assert advice(finding) == said


@pytest.mark.parametrize("rule", [r for r in RULES if r.unseen], ids=lambda r: r.id)
def test_conditions_that_only_the_server_knows_are_listed_without_a_finding(
    rule: Rule,
) -> None:
    assert f"Not seen in a file: {rule.unseen}" in explain(rule.id)


@pytest.mark.parametrize("case", [*REFUSED, *ACCEPTED])
def test_length_and_binding_are_not_judged_without_the_server(case: Case) -> None:
    blind = Context(betas=case.context.betas, version=case.context.version)
    found = check(cast("Any", case.body), blind, only={"R22", "R31"})

    assert not [f for f in found if f.rule == "R31" or "Invalid `" in f.reason]
