"""Every check of the conformance suites fails for the implementation that breaks its promise."""

# mypy asks for a comment below that pyright does not need.
# pyright: reportUnnecessaryTypeIgnoreComment=false

import inspect
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.engine.testing.listed import ListedStore
from tests.engine.testing.planted_models import PLANTED_MODELS
from tests.engine.testing.planted_stores import PLANTED, suite

from turnlatch.errors import SettingsError
from turnlatch.journal import MemoryStore, SQLiteStore
from turnlatch.ports import Model, Store
from turnlatch.sdk import SdkModel
from turnlatch.testing.conformance import ModelConformance, StoreConformance


class TestMemoryStore(StoreConformance):
    def make_store(self) -> Store:
        return MemoryStore()


class TestSQLiteStore(StoreConformance):
    folder: "tempfile.TemporaryDirectory[str]"

    def setup_method(self) -> None:
        self.folder = tempfile.TemporaryDirectory()

    def teardown_method(self) -> None:
        self.folder.cleanup()

    def make_store(self) -> Store:
        return SQLiteStore(Path(self.folder.name) / "chat.db")

    def reopen_store(self, store: Store) -> Store:
        store.close()
        return self.make_store()


class TestListedStore(suite(ListedStore)):  # type: ignore[misc] # a suite that is made
    """A store that somebody else wrote."""


class TestSdkModel(ModelConformance):
    def make_model(self, base_url: str) -> Model:
        return SdkModel(base_url=base_url, api_key="test")


def failing(kind: type[StoreConformance] | type[ModelConformance]) -> Iterator[str]:
    """The checks that fail."""
    for name, check in inspect.getmembers(kind, inspect.isfunction):
        if name.startswith("test_"):
            try:
                check(kind())
            except AssertionError:
                yield name.removeprefix("test_")


@pytest.mark.parametrize("broken", PLANTED)
def test_a_planted_store_fails_exactly_the_check_of_its_promise(broken: str) -> None:
    assert list(failing(PLANTED[broken])) == [broken]


@pytest.mark.parametrize("broken", PLANTED_MODELS)
def test_a_planted_model_fails_exactly_the_check_of_its_promise(broken: str) -> None:
    assert list(failing(PLANTED_MODELS[broken])) == [broken]


@pytest.mark.parametrize(
    ("kind", "planted"),
    [(StoreConformance, PLANTED), (ModelConformance, PLANTED_MODELS)],
)
def test_every_check_has_a_planted_bug(
    kind: type[object], planted: dict[str, object]
) -> None:
    checks = {name for name in dir(kind) if name.startswith("test_")}
    assert {f"test_{name}" for name in planted} == checks


@pytest.mark.parametrize(
    ("act", "setting"),
    [
        (lambda: StoreConformance().make_store(), "make_store"),
        (lambda: ModelConformance().make_model("http://x"), "make_model"),
    ],
)
def test_a_suite_without_its_hook_says_what_to_define(
    act: Callable[[], object], setting: str
) -> None:
    with pytest.raises(SettingsError, match=f"define {setting}"):
        act()
