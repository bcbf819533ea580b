"""The pytest plugin: the fixtures `messages_api` and `effects`.

It is a package of its own because pytest imports a plugin at every start, and importing a
module of `turnlatch` imports all of that. Here that happens when a test asks for a fixture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from turnlatch.testing import Effects, MessagesApi


@pytest.fixture
def messages_api() -> "Iterator[MessagesApi]":
    """A strict Messages API for this test; see `turnlatch.testing.MessagesApi`."""
    from turnlatch.testing import MessagesApi

    with MessagesApi() as api:
        yield api


@pytest.fixture
def effects(messages_api: "MessagesApi", tmp_path: Path) -> "Effects":
    """A ledger of effects that the verdict of `messages_api` takes into account, shared
    with every process that the test starts."""
    from turnlatch.testing import Effects

    made = Effects(tmp_path / "effects.jsonl")
    messages_api.watch_effects(made)
    return made
