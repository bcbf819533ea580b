"""`make sdks` tries what `pyproject.toml` allows, with tests that exist."""

from tests.sdks import OUTCOMES, ROOT, allowed, trials


def test_the_oldest_is_the_lower_bound_and_the_newest_is_not_bound_above() -> None:
    oldest, newest = trials()

    assert allowed() == newest.requirement
    assert oldest.requirement == allowed().replace(">=", "==")
    for trial in (oldest, newest):
        assert not any(pin.startswith("anthropic==") for pin in trial.pinned)
        assert any(pin.startswith("pytest==") for pin in trial.pinned)
    assert any(pin.startswith("httpx2==") for pin in oldest.pinned)
    assert not any(pin.startswith("httpx2==") for pin in newest.pinned)


def test_every_test_of_outcomes_exists() -> None:
    assert [path for path in OUTCOMES if not (ROOT / path).exists()] == []
