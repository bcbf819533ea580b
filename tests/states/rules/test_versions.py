"""What the rules know of the API's versions, of beta names, and of what clients send."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch_states.api.betas import KNOWN_BETAS, can_be_a_beta
from turnlatch_states.api.models import MODELS, spec
from turnlatch_states.api.rules import VERSION_2026, Context, check

OLD = "2023-06-01"
EXTRA = "Extra inputs are not permitted"
FIXED = "is deprecated for this model."
# Named one by one: the table of models must not be what says so.
FIXED_MODELS = (
    "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-opus-5-5",
    "claude-sonnet-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5",
    "claude-fable-5-1", "claude-fable-5-2", "claude-mythos-5", "claude-mythos-5-1",
    "claude-mythos-5-2",
)  # fmt: skip
FREE_MODELS = (
    "claude-opus-4-5", "claude-opus-4-6", "claude-sonnet-4-5", "claude-sonnet-4-6",
    "claude-haiku-4-5", "claude-haiku-4-5-20251001",
)  # fmt: skip
SAMPLING = ("temperature", "top_p", "top_k")


def told(
    version: str, model: str, betas: frozenset[str] = frozenset(), **fields: Any
) -> list[str]:
    body = {
        "model": model,
        "max_tokens": 4_000,
        "messages": [{"role": "user", "content": "hello"}],
        **fields,
    }
    return [each.message for each in check(body, Context(betas=betas, version=version))]


def test_every_model_is_of_one_sort() -> None:
    named = {
        found.name for each in (*FIXED_MODELS, *FREE_MODELS) if (found := spec(each))
    }

    assert named | {"claude-mythos-preview"} == {each.name for each in MODELS}


@given(
    model=st.sampled_from([each.name for each in MODELS]),
    field=st.sampled_from(SAMPLING),
    value=st.none() | st.integers(0, 1) | st.floats(0, 1),
)
def test_new_version_refuses_the_removed_fields(
    model: str, field: str, value: float | None
) -> None:
    fields: dict[str, Any] = {field: value}

    assert told(VERSION_2026, model, **fields) == [f"{field}: {EXTRA}"]


@given(
    model=st.sampled_from(FREE_MODELS),
    fields=st.sampled_from(["temperature", "top_p"]).flatmap(
        lambda name: st.fixed_dictionaries(
            {name: st.floats(0, 1)}, optional={"top_k": st.integers(0, 500)}
        )
    ),
)
def test_older_models_take_them_under_the_older_version(
    model: str, fields: dict[str, Any]
) -> None:
    assert told(OLD, model, **fields) == []


@pytest.mark.parametrize("model", FIXED_MODELS)
def test_models_that_fix_them_take_the_defaults_only(model: str) -> None:
    assert told(OLD, model, temperature=1) == []
    assert told(OLD, model, temperature=1.0, top_p=None) == []
    assert told(OLD, model, temperature=0.2) == [f"`temperature` {FIXED}"]
    assert told(OLD, model, top_p=0.9) == [f"`top_p` {FIXED}"]
    assert told(OLD, model, top_k=5) == [f"`top_k` {FIXED}"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
        (
            {"temperature": -1},
            "temperature: Input should be greater than or equal to 0",
        ),
        ({"temperature": "hot"}, "temperature: Input should be a valid number"),
        ({"temperature": True}, "temperature: Input should be a valid number"),
        ({"top_k": 0.5}, "top_k: Input should be a valid integer"),
        ({"temperature": 0.1, "top_p": 0.5}, "Please use only one."),
    ],
)
def test_their_values_are_judged(fields: dict[str, Any], message: str) -> None:
    [only] = told(OLD, "claude-sonnet-4-6", **fields)

    assert only.endswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.5}, "`temperature` may only be set to 1 when"),
        ({"top_p": 0.5}, "`top_p` must be greater than or equal to 0.95"),
        ({"top_k": 3}, "`top_k` must be unset when"),
        ({"temperature": 1}, ""),
        ({"top_p": 0.97}, ""),
    ],
)
def test_thinking_narrows_them(fields: dict[str, Any], message: str) -> None:
    found = told(OLD, "claude-sonnet-4-6", thinking={"type": "adaptive"}, **fields)

    assert [each.startswith(message) for each in found] == [True] * bool(message)


# What live clients send, each with its beta and not without.

SYSTEM: dict[str, Any] = {
    "role": "system",
    "content": [],
    "output_config": {"effort": "medium"},
}
FORMAT = {"type": "json_schema", "schema": {"type": "object"}}
GUARDS = [{"type": "dangerous_tool_use", "classifier_context": "auto"}]


@pytest.mark.parametrize(
    ("beta", "fields", "path"),
    [
        (
            beta,
            {"messages": [{"role": "user", "content": "x"}, SYSTEM]},
            "messages.1.output_config",
        )
        for beta in (
            "mid-conversation-output-config-2026-07-01",
            "per-turn-control-2026-07-01",
            "mid-conversation-effort-2026-08-01",
        )
    ]
    + [
        ("structured-outputs-2025-11-13", {"output_format": FORMAT}, "output_format"),
        ("dangerous-tool-use-2026-09-03", {"safeguards": GUARDS}, "safeguards"),
    ],
)
def test_a_field_of_a_beta_is_one_under_that_beta(
    beta: str, fields: dict[str, Any], path: str
) -> None:
    assert told(OLD, "claude-opus-5", frozenset({beta}), **fields) == []
    assert told(OLD, "claude-opus-5", **fields) == [f"{path}: {EXTRA}"]


# Names of betas.


def test_every_known_name_has_the_form_of_one() -> None:
    assert [name for name in KNOWN_BETAS if not can_be_a_beta(name)] == []
    assert {"claude-code-20250219", "messages-2023-12-15"} <= KNOWN_BETAS


@pytest.mark.parametrize("name", ["x-2026-01-31", "a-b9-2024-12-01", "code-20250219"])
def test_unknown_name_may_be_a_beta(name: str) -> None:
    assert can_be_a_beta(name)
    assert name not in KNOWN_BETAS


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "2026-01-31",
        "x-2026-13-01",
        "x-2026-01-32",
        "x-2020-01-01",
        "x-2026-1-1",
        "X-2026-01-31",
        "x_2026-01-31",
        "x--2026-01-31",
        "x-2026-01-31-y",
        "x y-2026-01-31",
        "x-2026-01-31\n",
        "x-٢٠٢٦-01-31",
    ],
)
def test_name_of_another_form_is_not_a_beta(name: str) -> None:
    assert not can_be_a_beta(name)
