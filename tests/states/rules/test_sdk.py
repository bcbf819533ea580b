"""The tables follow the SDK: a new SDK that knows a field we lack fails here."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, Required, get_args, get_origin

import pytest
from anthropic import types
from anthropic.types import beta
from typing_extensions import get_type_hints, is_typeddict

# The tables are private; what is tested is that they are complete.
from turnlatch_states.api.rules._blocks import BLOCKS
from turnlatch_states.api.rules._fields import (
    BODY,
    EDITS,
    OUTPUT_CONFIG,
    SYSTEM_MESSAGE,
    THINKING,
    TOOLS,
)
from turnlatch_states.api.rules._parts import RESULT_PARTS
from turnlatch_states.api.rules._schema import Field

NOT_IN_THE_BODY = {"betas", "user_profile_id", "workspace_id"}
TABLES: Mapping[str, Mapping[str, Field]] = {
    **BLOCKS,
    **RESULT_PARTS,
    **TOOLS,
    **EDITS,
}
# The same tag means other things elsewhere in the API.
ELSEWHERE = {
    "beta_tool_change_tool_reference_param",
    "web_fetch_url_source_tool_reference_param",
    "beta_web_fetch_url_source_tool_reference_param",
}


def parameters() -> Iterator[tuple[str, type[Any]]]:
    """Every request type of the SDK: (module, TypedDict)."""
    for package in (types, beta):
        for found in pkgutil.iter_modules(package.__path__):
            if not found.name.endswith("_param") or "managed_agents" in found.name:
                continue
            module = importlib.import_module(f"{package.__name__}.{found.name}")
            for value in vars(module).values():
                if is_typeddict(value) and value.__module__ == module.__name__:
                    yield found.name, value


def tags(made: type[Any]) -> set[str]:
    """The literals of `type`, optional or not."""
    hint = get_type_hints(made).get("type")
    choices = get_args(hint)
    literals = [*choices, *(tag for choice in choices for tag in get_args(choice))]
    return {tag for tag in literals if isinstance(tag, str)}


KNOWN = [
    (name, made, tag)
    for name, made in parameters()
    if name not in ELSEWHERE and "caller" not in name
    for tag in sorted(tags(made) & set(TABLES))
    if not (tag == "text" and "block" not in name)
]


def test_the_sdk_was_found() -> None:
    assert {tag for _, _, tag in KNOWN} == set(TABLES)


@pytest.mark.parametrize(
    ("made", "tag"),
    [(made, tag) for _, made, tag in KNOWN],
    ids=[
        f"{made.__module__.split('.')[-1]}-{made.__name__}-{tag}-{n}"
        for n, (_, made, tag) in enumerate(KNOWN)
    ],
)
def test_the_table_has_every_field_of_the_sdk(made: type[Any], tag: str) -> None:
    table = TABLES[tag]

    assert set(get_type_hints(made)) <= set(table)
    required = {name for name, field in table.items() if field.required} - {"type"}
    assert required == obliged(made) - {"type"}


def obliged(made: type[Any]) -> set[str]:
    """The required fields; `__required_keys__` cannot see through string annotations."""
    hints = get_type_hints(made, include_extras=True)
    return {
        name for name, hint in hints.items() if str(get_origin(hint)) == str(Required)
    }


def fields(path: str, name: str) -> set[str]:
    module = importlib.import_module(f"anthropic.types.{path}")
    return set(get_type_hints(getattr(module, name)))


@pytest.mark.parametrize(
    "path", ["message_create_params", "beta.message_create_params"]
)
def test_the_body_has_every_field_of_the_sdk(path: str) -> None:
    sent = fields(path, "MessageCreateParamsStreaming") - NOT_IN_THE_BODY

    assert sent <= set(BODY)


def test_the_smaller_tables_have_every_field_of_the_sdk() -> None:
    assert fields("beta.beta_system_message_param", "BetaSystemMessageParam") <= set(
        SYSTEM_MESSAGE
    )
    assert fields("beta.beta_output_config_param", "BetaOutputConfigParam") <= set(
        OUTPUT_CONFIG
    )
    for tag, table in THINKING.items():
        known = fields(
            f"beta.beta_thinking_config_{tag}_param",
            f"BetaThinkingConfig{tag.title().replace('_', '')}Param",
        )
        assert known <= set(table)


def test_every_block_of_the_sdk_is_known() -> None:
    from anthropic.types.beta.beta_content_block_param import BetaContentBlockParam

    found = {
        tag
        for made in get_args(BetaContentBlockParam)
        if is_typeddict(made)
        for tag in tags(made)
    }

    assert found == set(BLOCKS)


def test_every_tool_of_the_sdk_is_known() -> None:
    from anthropic.types.beta.beta_tool_union_param import BetaToolUnionParam

    found = {tag for made in get_args(BetaToolUnionParam) for tag in tags(made)}

    assert found == set(TOOLS)
