"""The table of models: one row each, found by name with or without a date."""

from typing import get_args

import pytest
from anthropic.types.model import Model

from turnlatch_states.api.models import MODELS, spec


def test_every_model_of_the_sdk_has_a_row() -> None:
    names = [name for choice in get_args(Model) for name in get_args(choice)]

    assert names
    assert [name for name in names if spec(name) is None] == []


def test_names_are_unique() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)


def test_a_date_does_not_matter() -> None:
    assert spec("claude-haiku-4-5-20251001") == spec("claude-haiku-4-5")


@pytest.mark.parametrize("name", [None, 5, "", "claude", "claude-opus-5-x", ["a"]])
def test_an_unknown_name_has_no_row(name: object) -> None:
    assert spec(name) is None


def test_only_the_oldest_models_take_a_prefill() -> None:
    prefill = {model.name for model in MODELS if model.prefill}

    assert prefill == {"claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"}
